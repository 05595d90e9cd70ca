"""What each archive holds, listed once and kept on the disk until its turn comes: no more than one list is in memory.

Listing a folder of loose files reads all of them, and that of a store asks it: so what was listed is not listed again.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from maskdepth.data.archives.archive import Archive, content_digest
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.tables import read_columns, write_columns
from maskdepth.process.files import PARTIAL

# No shard begins with a dot, nor is one called so on its way.
_FOLDER = f"{PARTIAL}.lists"
_NAME = "name"
_SCHEMA = pa.schema([(field, pa.string() if field == _NAME else pa.int64()) for field in Member._fields])


@dataclass(frozen=True)
class Listing:
    """The members of one archive, on the disk.

    Attributes:
        archive: Where they are.
        path: The file that lists them.
        content: Digest of what they hold.
    """

    archive: Archive
    path: Path
    content: str

    def members(self) -> list[Member]:
        """Read them, in the order in which the archive lists them."""
        table = read_columns(self.path, _SCHEMA, Member._fields)
        return list(map(Member._make, zip(*(table[field].tolist() for field in Member._fields), strict=True)))

    def paths(self) -> Iterator[str]:
        """Read their paths below the raw folder."""
        return map(self.archive.below, read_columns(self.path, _SCHEMA, [_NAME])[_NAME].tolist())


@contextmanager
def listed(archives: Iterable[Archive], arrays_dir: Path) -> Iterator[dict[Archive, Listing | RefusedError]]:
    """Do what `write_listings` does, for a while, in a folder beside the shards."""
    folder = arrays_dir.resolve() / _FOLDER  # by which machines of a cluster find it
    folder.mkdir()
    try:
        yield write_listings(archives, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_listings(archives: Iterable[Archive], folder: Path) -> dict[Archive, Listing | RefusedError]:
    """List what each archive holds, or say why it is refused; one bad archive does not harm the others.

    Args:
        archives: What to list.
        folder: Where the lists go, a file for each archive.
    """
    return {archive: _write_listing(archive, folder / f"{archive.shard}.parquet") for archive in archives}


def _write_listing(archive: Archive, path: Path) -> Listing | RefusedError:
    try:
        members = archive.members()
    except RefusedError as error:
        return error
    write_columns(path, pd.DataFrame(members, columns=list(Member._fields)), _SCHEMA)
    return Listing(archive, path, content_digest(members))
