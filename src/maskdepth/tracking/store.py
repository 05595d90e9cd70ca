"""Where MLflow keeps the runs: one SQLite file at the repository root, or the server that MLFLOW_TRACKING_URI names.

Two things here are easy to get wrong. Several processes that open a new SQLite store at once destroy it, so it is built
under a lock, in a file beside, and renamed into place. And MLflow derives the artifact folder from the folder in which
an experiment is created, which inside `dvc exp run --temp` is about to be deleted, so it is always given.
"""

import logging
import math
import os
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from maskdepth.runtime import repository_root, state_dir

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "maskdepth"
DATA_EXPERIMENT = "maskdepth-data"

# Without it the web interface shows runs of networks as if they were of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

_SQLITE = "sqlite:///"
# An address of which nothing is a secret, and what can be shown of any other behind its login: host, port and path.
_SERVER = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?(/[^?#@\s]*)?", re.IGNORECASE)
_PLACE = re.compile(r"([\w.-]*|\[[\da-f:.]+\])(:\d+)?(?=[/?#]|$)(/[\w./~-]*)?", re.IGNORECASE)
_ADDRESS = re.compile(r"[\w+.-]+://\S*[\w/]")  # within a text, without the punctuation behind it
_LOCK_SECONDS = 60.0
_LONGEST_REASON = 300
_TIMEOUT, _RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_SETTINGS = {
    # MLflow's own patience makes one call to a dead server take four minutes.
    _TIMEOUT: "10",
    _RETRIES: "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # A pickled model runs code when it is loaded; ours is not pickled.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # What a stage did is said in its one line.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_MOST_RETRIES = 10  # above this MLflow refuses every call
_PAUSE_SECONDS = 2.0  # between two tries, on average, with the back-off of above


@dataclass(frozen=True)
class Store:
    """A tracking store by its address, and the repository it belongs to."""

    root: Path
    uri: str

    @property
    def database(self) -> Path | None:
        """The SQLite file, None for a server."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    @property
    def address(self) -> str:
        """The address as it may be shown."""
        return redact_address(self.uri)


@dataclass(frozen=True)
class Connection:
    """An open store and the numbers of our two MLflow experiments by name."""

    store: Store
    client: "MlflowClient"
    experiments: dict[str, str]


class Deadline:
    """When to give up sending; within this context MLflow's patience with a server that hangs does not outlast it.

    Args:
        budget: Time until then [s].
    """

    def __init__(self, budget: float) -> None:
        self._end = time.monotonic() + budget

    def __enter__(self) -> "Deadline":
        self._before = {name: os.environ.get(name) for name in (_TIMEOUT, _RETRIES)}
        return self

    def __exit__(self, *problem: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    @property
    def left(self) -> float:
        """Time left [s], negative when it is over."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Go on only while there is time; a call that could take longer with all its retries gets one try.

        Raises:
            TimeoutError: It is over.
        """
        if self.left <= 0:
            raise TimeoutError("no time left; it is sent later")
        timeout, retries = (int(os.environ.get(name, _SETTINGS[name])) for name in (_TIMEOUT, _RETRIES))
        if self.left < timeout * (retries + 1) + _PAUSE_SECONDS * retries:
            # MLflow reads both at each call.
            os.environ[_TIMEOUT] = str(max(1, min(timeout, math.floor(self.left))))
            os.environ[_RETRIES] = "0"


def locate_store() -> Store:
    """Say which store is used: MLFLOW_TRACKING_URI, else `mlflow.db` at the root of the repository.

    Raises:
        ValueError: The address holds a password or, for a server, more than host, port and path; it names a folder; or
            the number of retries is one MLflow refuses.
        FileNotFoundError: The current folder is in no DVC repository.
    """
    root = repository_root()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{_SQLITE}mlflow.db"
    if uri.startswith(_SQLITE):
        return Store(root, _SQLITE + str(Path(root, uri.removeprefix(_SQLITE)).resolve()))
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    login = (uri.partition("://")[2] or uri).rpartition("@")[0]
    is_name = "://" in uri and ":" not in login  # of a database's user: no secret
    if (login and not is_name) or (scheme in ("http", "https") and not _SERVER.fullmatch(uri)):
        raise ValueError(
            f"MLFLOW_TRACKING_URI {redact_address(uri)} holds a login or more than host, port and path, and MLflow "
            "prints it at the end of each run; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead, for "
            "a database its own password file"
        )
    if scheme in ("", "file", "sqlite"):
        raise ValueError(
            f"MLFLOW_TRACKING_URI {redact_address(uri)} is a folder, which MLflow no longer takes as a store; "
            f"write {_SQLITE}mlflow.db or the address of a server"
        )
    retries = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if not retries.isdigit() or int(retries) > _MOST_RETRIES:
        raise ValueError(f"MLFLOW_HTTP_REQUEST_MAX_RETRIES is {retries!r}; MLflow takes 0 to {_MOST_RETRIES}")
    return Store(root, uri)


def redact(text: str) -> str:
    """Hide what may be a secret in every address of a text.

    >>> redact("no answer from http://ann:secret@example.org:5000/api: refused")
    'no answer from http://***@example.org:5000/api: refused'
    """
    return _ADDRESS.sub(lambda found: redact_address(found[0]), text)


def redact_address(address: str) -> str:
    """Show scheme, host, port and path of an address, and where there was more.

    A login ends at the last @, whatever it holds; where that may as well stand behind a ? or #, nothing is shown.

    >>> redact_address("http://ann:se/cret@example.org:5000/api?token=secret")
    'http://***@example.org:5000/api***'
    >>> redact_address("http://example.org/?token=se@cret")
    'http://***'
    """
    if address.startswith(_SQLITE):  # a path, in which each of these signs may stand
        return address
    scheme, marks, rest = address.partition("://") if "://" in address else ("", "", address)
    login, at, place = rest.rpartition("@")
    shown = _PLACE.match(place)
    if shown is None or "?" in login or "#" in login:
        return f"{scheme}{marks}***"
    return f"{scheme}{marks}{at and '***@'}{shown[0]}{'' if shown[0] == place else '***'}"


def trouble() -> tuple[type[Exception], ...]:
    """List what a store that is away, locked, full, damaged or without its driver raises, and a damaged row."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # A database needs a driver, which may not be installed.
    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ValueError, ImportError)


def explain(error: Exception) -> str:
    """Say in one line what went wrong: in our own words, else in those of the first cause below a library's layers."""
    cause = error.__cause__ or error.__context__
    # A KeyError tells nothing but a key.
    while type(error) is not ValueError and isinstance(cause, Exception) and not isinstance(cause, KeyError):
        error, cause = cause, cause.__cause__ or cause.__context__
    if isinstance(error, ModuleNotFoundError):
        return f"the Python module {error.name} is not installed, which the address in MLFLOW_TRACKING_URI needs"
    text = redact(" ".join(str(error).split()))
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " ..."


def connect(store: Store) -> Connection:
    """Open the store, building it and our experiments where they are missing; raises one of `trouble()`."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for logger in ("mlflow", "alembic"):  # building a store is no news
        logging.getLogger(logger).setLevel(logging.ERROR)
    state = state_dir()
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / "store.lock", timeout=_LOCK_SECONDS):
        if store.database is not None and not holds_something(store.database):
            _build_database(store.database, store.root)
        client = mlflow.MlflowClient(store.uri)
        experiments = {name: _make_experiment(store, client, name) for name in (EXPERIMENT, DATA_EXPERIMENT)}
    return Connection(store, client, experiments)


def holds_something(path: Path) -> bool:
    """Tell whether a file is there and not empty, as SQLite leaves one that it has only been asked to open."""
    return path.is_file() and path.stat().st_size > 0


def _build_database(path: Path, root: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for stale in path.parent.glob(f"{path.name}.building*"):  # left by a process killed here
        stale.unlink()
    building = path.with_name(f"{path.name}.building")
    path.parent.mkdir(parents=True, exist_ok=True)
    store: Any = SqlAlchemyStore(f"{_SQLITE}{building}", str(root / "mlartifacts"))  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with closing(sqlite3.connect(building)) as database:
        database.execute(
            "PRAGMA journal_mode=WAL"
        )  # stays in the file: readers and one writer do not wait for each other
    # Beside a database that was taken away alone lies what a killed process had not merged into it yet: SQLite would
    # merge it into the new one.
    for left in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    building.replace(path)


def _make_experiment(store: Store, client: "MlflowClient", name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server decides itself where artifacts go.
        location = str(store.root / "mlartifacts" / name) if store.database else None
        return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
