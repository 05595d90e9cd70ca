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
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from maskdepth.process.console import printable
from maskdepth.process.workspace import state_dir
from maskdepth.tracking.address import DATA_EXPERIMENT, EXPERIMENT, Store, redact
from maskdepth.tracking.sqlite import ARTIFACTS, build_database, holds_something, require_in_place
from maskdepth.tracking.tags import read_tags
from maskdepth.tracking.views import missing_views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Without it the web interface shows runs of networks as if they were of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
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
NO_SERVER = "what answers is no MLflow server: its answers lack what it was asked for; check MLFLOW_TRACKING_URI"
# How MLflow's server refuses a call, and what people do about it: its own words name no cure, or the wrong one.
_REFUSALS = {
    re.compile(r"error code 401 |^401 Client Error|You are not authenticated"): (
        "the server takes no such login (401): the user is not known to it, the password is wrong, or none was sent; "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD as its administrator gave them to you"
    ),
    re.compile(r"Response (?:body|text): '?Permission denied"): (
        "the server knows the login, which has no right to write here (403): ask its administrator for the permission "
        f"EDIT on the experiments {EXPERIMENT} and {DATA_EXPERIMENT}"
    ),
    re.compile("Invalid Host header"): (
        "the server does not answer to the name in MLFLOW_TRACKING_URI (403): ask its administrator to add it, with "
        "its port, to --allowed-hosts"
    ),
}
_PAUSE_SECONDS = 2.0  # between two tries, on average, with the back-off of above


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


def trouble() -> tuple[type[Exception], ...]:
    """List what a store that is away, locked, full, damaged or without its driver raises, and a damaged row."""
    from google.protobuf.json_format import Error as ForeignAnswer
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # A database needs a driver, which may not be installed; what a server answers may be anything.
    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ValueError, ImportError, ForeignAnswer)


def explain(error: Exception) -> str:
    """Say in one line what went wrong: in our own words, else in those of the first cause below a library's layers."""
    from google.protobuf.json_format import Error as ForeignAnswer

    if isinstance(error, ForeignAnswer):
        return _shorten(f"{NO_SERVER} ({error})")
    cause = error.__cause__ or error.__context__
    # A KeyError tells nothing but a key.
    while type(error) is not ValueError and isinstance(cause, Exception) and not isinstance(cause, KeyError):
        error, cause = cause, cause.__cause__ or cause.__context__
    if isinstance(error, ModuleNotFoundError):
        return f"the Python module {error.name} is not installed, which the address in MLFLOW_TRACKING_URI needs"
    text = str(error)
    return next((cure for refusal, cure in _REFUSALS.items() if refusal.search(text)), _shorten(text))


def _shorten(text: str) -> str:
    text = printable(" ".join(redact(text).split()))
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " ..."


def connect(store: Store) -> Connection:
    """Open the store, building it and our experiments where they are missing; raises one of `trouble()`."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    # Building a store is no news, and what it refuses is said in one line of ours, without a traceback before it.
    for logger in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    state = state_dir()
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / "store.lock", timeout=_LOCK_SECONDS):
        if store.database is not None and not holds_something(store.database):
            build_database(store.database, store.root)
        require_in_place(store)
        client = mlflow.MlflowClient(store.uri)
        experiments = {name: _make_experiment(store, client, name) for name in (EXPERIMENT, DATA_EXPERIMENT)}
        _write_views(client, experiments[EXPERIMENT])
    return Connection(store, client, experiments)


def require_right_to_write(connection: Connection) -> None:
    """Write what each experiment has already, which changes nothing; raises one of `trouble()`.

    To a login that may only read everything looks well until a row is sent.
    """
    for number in connection.experiments.values():
        tags = connection.client.get_experiment(number).tags
        if tags:
            connection.client.set_experiment_tag(number, *min(tags.items(), key=lambda tag: len(tag[1])))


def find_runs(connection: Connection, experiment: str, tags: dict[str, str]) -> "list[Run]":
    """List the active runs with all of these tags, a missing tag counting as "", oldest first."""
    # One tag is asked of the store and the rest compared here: a search cannot express "missing or empty".
    name, value = next(iter(tags.items()))
    found = connection.client.search_runs(
        [connection.experiments[experiment]], f"tags.`{name}` = '{value}'", max_results=1000
    )
    same = [run for run in found if all(read_tags(run).get(key, "") == tags[key] for key in tags)]
    return sorted(same, key=lambda run: (run.info.start_time, run.info.run_id))


def _write_views(client: "MlflowClient", experiment_id: str) -> None:
    """See to it that the experiment has the ready-made views; where they may not be written, runs still may."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        for name, value in missing_views(client.get_experiment(experiment_id).tags).items():
            client.set_experiment_tag(experiment_id, name, value)


def _make_experiment(store: Store, client: "MlflowClient", name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server decides itself where artifacts go.
        location = str(store.root / ARTIFACTS / name) if store.database else None
        return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
    if not experiment.experiment_id:
        raise ValueError(NO_SERVER)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
