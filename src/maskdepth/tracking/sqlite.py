"""The store as one SQLite file: built in one step, checked, and mended when its repository has moved."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from maskdepth.tracking.address import EXPERIMENT, SQLITE, Store, locate_store

ARTIFACTS = "mlartifacts"  # folder beside the database

# Every place where MLflow keeps an absolute path.
_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
_LEAST_ROOM = 1_000_000  # [byte], of a disk: SQLite also wants room for the files that it keeps beside
_MOVED = "{path} was made in {before}; `maskdepth relocate` mends its paths"


def holds_something(path: Path) -> bool:
    """Tell whether a file is there and not empty, as SQLite leaves one that it has only been asked to open."""
    return path.is_file() and path.stat().st_size > 0


def build_database(path: Path, root: Path) -> None:
    """Build a store beside its place and rename it there: several processes that build one at once destroy it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for stale in path.parent.glob(f"{path.name}.building*"):  # left by a process killed here
        stale.unlink()
    building = path.with_name(f"{path.name}.building")
    path.parent.mkdir(parents=True, exist_ok=True)
    store: Any = SqlAlchemyStore(f"{SQLITE}{building}", str(root / ARTIFACTS))  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with closing(sqlite3.connect(building)) as database:
        # Stays in the file: readers and one writer do not wait for each other.
        database.execute("PRAGMA journal_mode=WAL")
    # Beside a database that was taken away alone lies what a killed process had not merged into it yet: SQLite would
    # merge it into the new one.
    for left in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    building.replace(path)


def experiment_number(path: Path, name: str) -> str | None:
    """Read which number MLflow gave an experiment, None where there is none."""
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
    return str(found[0]) if found else None


def find_moved_root() -> Path | None:
    """Say where the repository was when the store was made, None when it is still there or the store is elsewhere."""
    store = locate_store()
    if store.database is None or not store.database.is_file():
        return None
    return _recorded_root(store.database, store.root)


def require_in_place(store: Store) -> None:
    """Refuse a store that came here with its repository: its rows would go on filling the folder that it came from.

    Raises:
        ValueError: It was made elsewhere, or moved away while it was open; says what to do.
    """
    if store.database is None:
        return
    if not store.database.is_file():
        raise ValueError(f"{store.database} was moved away meanwhile; run again from where it is now")
    before = _recorded_root(store.database, store.root)
    if before is not None:
        raise ValueError(_MOVED.format(path=store.database, before=before))


def relocate(old_root: Path, new_root: Path) -> int:
    """Mend the absolute paths in the SQLite store after the repository moved; a copy of it is kept beside.

    Args:
        old_root: Where the repository was.
        new_root: Where it is.

    Returns:
        How many paths were changed.

    Raises:
        ValueError: The store is no SQLite file.
        FileNotFoundError: There is no store.
    """
    database = locate_store().database
    if database is None:
        raise ValueError("only a SQLite store holds absolute paths; MLFLOW_TRACKING_URI names a server")
    if not database.is_file():
        raise FileNotFoundError(f"{database}: no store here; nothing to mend")
    changed = 0
    with closing(sqlite3.connect(database)) as store, closing(sqlite3.connect(f"{database}.before-relocate")) as backup:
        store.backup(backup)
        with store:
            for prefix in ("", "file://"):
                old, new = f"{prefix}{old_root}/", f"{prefix}{new_root}/"
                for table, column in _PATH_COLUMNS:
                    changed += store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    ).rowcount
    return changed


def check_room(path: Path) -> list[str]:
    """Check that the database can grow; SQLite itself only speaks of an "I/O error", or of a file it cannot open."""
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return [f"{path} cannot be written: make it and its folder writable, then `maskdepth sync`"]
    if shutil.disk_usage(path.parent).free < _LEAST_ROOM:
        return [f"{path} has no room to grow: free some space on its disk, then `maskdepth sync`"]
    return []


def check_database(path: Path, root: Path) -> list[str]:
    """Check that the database is whole, and that it was made where it is."""
    try:
        with closing(sqlite3.connect(path)) as database:
            told = database.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.OperationalError:  # locked, or not to be read: it need not be damaged
        raise
    except sqlite3.DatabaseError as error:
        told = str(error)
    if told != "ok":
        return [
            f"{path} is damaged ({told}): move it away, and {path.name}-wal and {path.name}-shm with it if they are "
            "there; then put a copy in its place, or run `dvc repro -f -s report`"
        ]
    moved_from = _recorded_root(path, root)
    return [_MOVED.format(path=path, before=moved_from)] if moved_from else []


def _recorded_root(path: Path, root: Path) -> Path | None:
    """Say in which other folder than `root` a database that lies in it was made, None if in none."""
    if not path.is_relative_to(root):  # of several repositories: it belongs to the first
        return None
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    recorded = Path(found[0].removeprefix("file://")) if found else root / ARTIFACTS / EXPERIMENT
    is_ours = recorded.parts[-2:] == (ARTIFACTS, EXPERIMENT)
    return recorded.parents[1] if is_ours and recorded.parents[1] != root else None
