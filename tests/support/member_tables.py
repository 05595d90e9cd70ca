"""All that is known of the members of some shards as one table, texts and all."""

from pathlib import Path

import pandas as pd

from maskdepth.data.archives.members import MEMBER_COLUMNS, MEMBERS_FILE, NUMBER_COLUMNS, SCHEMA, read_members
from maskdepth.data.arrays.arrays import read_cards
from maskdepth.data.tables import read_columns


def read_member_table(arrays_dir: Path) -> pd.DataFrame:
    """Give `MEMBER_COLUMNS`, `shard`, `archive`, and `global_row`, -1 where nothing was decoded."""
    tables = [
        read_columns(shard / MEMBERS_FILE, SCHEMA, MEMBER_COLUMNS).assign(shard=shard.name, archive=card["archive"])
        for shard, card in read_cards(arrays_dir).items()
    ]
    texts = [column for column in MEMBER_COLUMNS if column not in NUMBER_COLUMNS]
    table = pd.concat([table.astype(dict.fromkeys(texts, str)) for table in tables], ignore_index=True)
    table["global_row"] = -1
    for pictures in read_members(arrays_dir).pictures.values():
        table.loc[pictures["place"], "global_row"] = pictures["global_row"].to_numpy()
    return table
