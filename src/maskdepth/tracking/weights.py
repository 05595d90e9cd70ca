"""The weights of a network that the store has: of a run, or of a registered model by its version or alias."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maskdepth.process.console import mention
from maskdepth.process.files import replacing
from maskdepth.process.limited import items_within
from maskdepth.process.workspace import state_dir
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.history import open_history
from maskdepth.tracking.outbox import MODEL
from maskdepth.tracking.registry import URI_START, find_model, find_run
from maskdepth.tracking.store import explain, trouble

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_START = "runs:/"

# [s] for the store to answer: MLflow itself gives up earlier on a server that is away, and not on one that hangs.
_PATIENCE = 300.0


def fetch_weights(name: str) -> Path:
    """Fetch the weights of a network; those that were fetched before are still there.

    Args:
        name: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/ID`, or what `maskdepth.tracking.registry.find_run`
            finds a run by.

    Raises:
        ValueError: There is no such model, alias, version or run, it has no weights, or the store does not answer; says
            which.
    """
    try:
        for path in items_within(_PATIENCE, download_weights, name):
            if path is not None:
                return path
            mention(f"waiting for the tracking store, which has {name}")
    except (TimeoutError, ChildProcessError) as error:
        raise ValueError(f"{name}: the tracking store gave no answer ({error}); name a file of weights") from error
    raise AssertionError("a download ends with a path or an error")


def download_weights(name: str) -> Iterator[Path]:
    """Do what `fetch_weights` does, for as long as a server takes; yields one path."""
    try:
        history = open_history(EXPERIMENT)
        client = history.client
        if name.startswith(URI_START):
            location = _locate_version(client, name)
        else:
            model_id = find_model(client, find_run(history, name.removeprefix(RUN_START)))
            location = str(client.get_logged_model(model_id).artifact_location)
        yield _keep(location)
    except trouble() as error:
        raise ValueError(f"{name}: {explain(error)}") from error


def _locate_version(client: "MlflowClient", uri: str) -> str:
    """Say where the files of a version of a registered model are."""
    from mlflow.exceptions import MlflowException

    named = uri.removeprefix(URI_START)
    name, mark, which = named.partition("@" if "@" in named else "/")
    if not which:
        raise ValueError("which version? name models:/NAME@ALIAS or models:/NAME/VERSION")
    try:
        number = str(client.get_model_version_by_alias(name, which).version) if mark == "@" else which
        return str(client.get_model_version_download_uri(name, number))
    except MlflowException as error:
        reason = str(error.message).rstrip(".")
        raise ValueError(f"{reason}; `maskdepth promote` makes a champion, `mlflow ui` shows what there is") from error


def _keep(location: str) -> Path:
    """Bring the weights of a model here; models never change, so that those that were brought before are right."""
    import mlflow

    store = locate_store().uri
    path = state_dir() / "weights" / hashlib.sha256(f"{store} {location}".encode()).hexdigest()[:16] / MODEL
    if not path.is_file():
        mlflow.set_tracking_uri(store)  # who is asked for what lies with a server
        with tempfile.TemporaryDirectory() as folder, replacing(path) as partial:
            found = mlflow.artifacts.download_artifacts(f"{location}/{MODEL}", dst_path=folder)
            shutil.copyfile(found, partial)
    return path
