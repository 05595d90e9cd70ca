"""The registered model of this project: its versions, and the alias that says which of them people use."""

import difflib
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock

from maskdepth.comparing.grouping import Run
from maskdepth.process.alone import ConflictError
from maskdepth.process.workspace import state_dir
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.history import History
from maskdepth.tracking.journal import FINISHED, describe_process
from maskdepth.tracking.model import is_servable
from maskdepth.tracking.outbox import EXPERIMENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL, CHAMPION = "maskdepth", "champion"
URI_START = "models:/"

# A registry has no compare-and-set, but the names of its models are unique: who could make this one is alone.
_LOCK = "maskdepth-promotion-under-way"
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
_RUN_ID = re.compile(r"[0-9a-f]{6,32}")
_MADE_AGAIN = "delete the run in MLflow and make it again with `dvc repro -f -s report`"
_MOST_NAMES = 8
# Within quotes of a search.
_SEARCHABLE = re.compile(r"[^'\"\\]+")


class Version(NamedTuple):
    """One version of the registered model: its number, and the model and the run that it is of."""

    number: str
    model_id: str
    run_id: str


def find_run(history: History, name: str) -> Run:
    """Find a run by its name, its id or the beginning of that, or the name of its DVC experiment.

    Raises:
        ValueError: There is none, or there are several; names them.
    """
    found = [run for run in history.runs if run.name == name]
    if not found and _RUN_ID.fullmatch(name):
        found = [run for run in history.runs if run.run_id.startswith(name)]
    if not found and _SEARCHABLE.fullmatch(name):
        listed = history.client.search_runs([history.experiment_id], f"tags.`{EXPERIMENT_TAG}` = '{name}'")
        ids = {run.info.run_id for run in listed}
        found = [run for run in history.runs if run.run_id in ids]
    if not found:
        newest = list(dict.fromkeys(run.name for run in sorted(history.runs, key=lambda run: -run.ended)))
        near = difflib.get_close_matches(name, newest, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        told = ", ".join(newest[:_MOST_NAMES])
        raise ValueError(f"no run or DVC experiment {name!r} in {history.address}; {hint}the newest are {told}")
    if len(found) > 1:
        ids_told = ", ".join(run.run_id[:8] for run in sorted(found, key=lambda run: -run.ended))
        raise ValueError(f"{len(found)} runs are called {name}; name one by its id, newest first: {ids_told}")
    return found[0]


def find_model(client: "MlflowClient", run: Run) -> str:
    """Give the id of the model that a run made.

    Raises:
        ValueError: The run has not finished, it has no model, or the model's files are gone or of an older version.
    """
    if run.status != FINISHED:
        raise ValueError(f"{run.name} ({run.run_id[:8]}) is {run.status.lower()}, not finished")
    outputs = client.get_run(run.run_id).outputs
    ids = [output.model_id for output in outputs.model_outputs] if outputs else []
    if not ids:
        raise ValueError(f"{run.name} ({run.run_id[:8]}) has no model; its tag maskdepth says why under model.export")
    servable = [model_id for model_id in ids if is_servable(client, model_id)]
    if not servable:
        raise ValueError(
            f"the model of {run.name} ({run.run_id[:8]}) is gone, or of a version that cannot be served; {_MADE_AGAIN}"
        )
    return servable[-1]


def read_champion(client: "MlflowClient") -> Version | None:
    """Give the version that the alias names, None where it names none."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version_by_alias(MODEL, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model yet, or no alias
            return None
        raise
    return _version(found)


def register_model(client: "MlflowClient", run: Run, model_id: str) -> Version:
    """Give the version of a model, registering it where it has none."""
    import mlflow
    from mlflow.exceptions import MlflowException

    # A store of files looks for the model where this points.
    mlflow.set_tracking_uri(locate_store().uri)
    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for known in map(_version, client.search_model_versions(f"name='{MODEL}'")):
        if known.model_id == model_id:
            return known
    return _version(client.create_model_version(MODEL, f"{URI_START}{model_id}", run.run_id, model_id=model_id))


def _version(found: "ModelVersion") -> Version:
    # Some stores forget the model, and none the address that it was registered by.
    return Version(str(found.version), str(found.source).removeprefix(URI_START), str(found.run_id))


def note(client: "MlflowClient", version: Version, tags: Mapping[str, str], description: str | None = None) -> None:
    """Write on a version what was decided about it."""
    for name, value in tags.items():
        client.set_model_version_tag(MODEL, version.number, f"maskdepth.{name}", value)
    if description is not None:
        client.update_model_version(MODEL, version.number, description)


def crown(client: "MlflowClient", version: Version) -> None:
    """Let the alias name a version."""
    client.set_registered_model_alias(MODEL, CHAMPION, version.number)


@contextmanager
def only_promotion(client: "MlflowClient") -> Iterator[None]:
    """Keep every other promotion waiting, of this repository and of whoever else has the store.

    Raises:
        ConflictError: Another one does not end; says which, and what to do if it is dead.
        Timeout: Likewise, of this repository.
    """
    folder = state_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "promotion.lock", timeout=_PATIENCE_SECONDS):
        until = time.monotonic() + _PATIENCE_SECONDS
        while not _take_lock(client):
            if time.monotonic() > until:
                held = client.get_registered_model(_LOCK).description
                raise ConflictError(
                    f"another promotion has been under way for over {_PATIENCE_SECONDS:.0f} s ({held}); if it is dead, "
                    f"delete the registered model {_LOCK} in MLflow"
                )
            time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            client.delete_registered_model(_LOCK)


def _take_lock(client: "MlflowClient") -> bool:
    """Try to make the model that only one can make; what a dead process of this host has left is removed."""
    from mlflow.exceptions import MlflowException

    here = socket.gethostname()
    try:
        client.create_registered_model(_LOCK, description=f"{here}, process {describe_process(os.getpid())}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        _remove_dead_lock(client, here)
        return False
    return True


def _remove_dead_lock(client: "MlflowClient", here: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        host, _, process = (client.get_registered_model(_LOCK).description or "").partition(", process ")
        number = process.split(" ")[0]
        if host == here and number.isdecimal() and describe_process(int(number)) != process:
            client.delete_registered_model(_LOCK)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # it has just ended
            raise
