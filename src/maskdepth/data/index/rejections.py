"""What is turned down on the way from members to samples, and why: the rows of rejected.csv."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.archives.members import Members

COLUMNS = ["archive", "member", "reason", "cure"]
_TEXTS = ["archive", "reason", "cure"]

_Where = pd.Series | npt.NDArray[np.bool_]


class Rejections:
    """Which members are turned down, and why."""

    def __init__(self) -> None:
        self._found: list[pd.DataFrame] = []

    def add(self, table: pd.DataFrame, reason: str | pd.Series, cure: str | pd.Series) -> None:
        """Turn down all rows of a table."""
        if len(table):
            facts = table[["place", "archive"]].assign(reason=reason, cure=cure)
            self._found.append(facts.astype(dict.fromkeys(_TEXTS, str)))

    def drop(
        self, table: pd.DataFrame, where: _Where, reason: str | Callable[[pd.DataFrame], pd.Series], cure: str
    ) -> pd.DataFrame:
        """Turn down the rows `where`, and give the others; a reason may depend on the row."""
        if not where.any():
            return table
        bad = table[where]
        self.add(bad, reason if isinstance(reason, str) else reason(bad), cure)
        return table[~where].reset_index(drop=True)

    def collect(self, members: Members) -> pd.DataFrame:
        """Give the columns of rejected.csv, as text and in order."""
        empty = pd.DataFrame(columns=["place", *_TEXTS], dtype=str).astype({"place": np.int64})
        rejected = pd.concat([empty, *self._found], ignore_index=True)
        rejected["member"] = members.look_up(rejected["place"].to_numpy(), "member")
        return rejected[COLUMNS].astype("str").sort_values(COLUMNS, ignore_index=True)
