"""The trained network as an MLflow model that people can ask: exported, not pickled, checked before it is sent.

In its folder lie the exported network, a script of a few lines, and the card. The script asks this package for what
stands between pictures and network; the network itself, a pt2 file, runs wherever torch does.
"""

import hashlib
import re
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskdepth.tracking.card import CARD_FILE
from maskdepth.tracking.outbox import MODEL
from maskdepth.tracking.served import INPUTS, NETWORK, SCRIPT
from maskdepth.tracking.store import Connection

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from maskdepth.models.network import Network

_FOLDER = "maskdepth"
DIGEST_TAG = "maskdepth.model_sha256"
_NETWORK_FILE = f"{NETWORK}.pt2"
# Where MLflow puts it in the model's folder.
NETWORK_PATH = f"artifacts/{_NETWORK_FILE}"

# What MLflow refuses in the name of a model.
_NOT_IN_A_NAME = r"""[/:.%"']"""
# The data set that a model is measured on, and the beginning of what is measured.
_TEST = "test"
# The name of the script shows in the web interface.
_SCRIPT_FILE = "maskdepth_model.py"


def send_model(
    connection: Connection, experiment: str, run_id: str, path: Path, card: Path | None, threshold: float
) -> str:
    """Give a run its model: link the one that the store has already, else export and log it.

    Args:
        connection: The open store.
        experiment: Name of the MLflow experiment.
        run_id: The run.
        path: Weights that `maskdepth.models.saved.load_network` reads.
        card: The model card, None where there is none.
        threshold: As for `export_model`.

    Returns:
        "ok", or "failed: " and the reason why the network could not be exported.
    """
    # The same weights behind another script, as of another version, are another model.
    digest = hashlib.sha256(path.read_bytes() + SCRIPT.encode()).hexdigest()
    model_id = _find_model(connection, experiment, digest)
    if model_id is None:
        from maskdepth.models.saved import load_network

        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / _FOLDER
            try:
                export_model(load_network(path), exported, threshold)
            except ValueError as error:
                return f"failed: {error}"
            if card is not None:
                shutil.copyfile(card, exported / CARD_FILE)
            shutil.copyfile(path, exported / MODEL)  # as `predict` reads it
            model_id = _log_model(connection, experiment, run_id, exported, digest)
    _link_model(connection, run_id, model_id)
    _send_numbers(connection.client, run_id, model_id)
    return "ok"


def export_model(network: "Network", folder: Path, threshold: float) -> None:
    """Write a network as an MLflow model that answers pairs of pictures, and let it answer one.

    Args:
        network: A trained network.
        folder: Where to write; must not exist.
        threshold: Mask probability above which a pixel belongs to the object, where a request names none, (0, 1).

    Raises:
        ValueError: The network cannot be exported, or predicts something else when it is.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    from maskdepth.serving.answers import PairPredictor
    from maskdepth.serving.exporting import export_network, save_pt2

    exported = export_network(network)
    outputs = {name: "string" for name in ("mask", "depth", "cutout", "registration")}
    outputs |= {"width": "long", "height": "long", "object_share": "double"}
    example = _example(exported.image_size)
    signature = ModelSignature(
        Schema([ColSpec("string", name) for name in INPUTS]),
        Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        ParamSchema([ParamSpec("threshold", "double", threshold), ParamSpec("register", "boolean", True)]),
    )
    with tempfile.TemporaryDirectory() as beside:
        script, program = Path(beside, _SCRIPT_FILE), Path(beside, _NETWORK_FILE)
        script.write_text(SCRIPT, encoding="utf-8")
        save_pt2(exported, program)
        try:
            mlflow.pyfunc.save_model(
                folder,
                python_model=str(script),
                artifacts={NETWORK: str(program)},
                signature=signature,
                input_example=example,
                # maskdepth is on no index, where its name could be a stranger's.
                pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "mlflow")],
            )
            answer = mlflow.pyfunc.load_model(str(folder)).predict(example)
        except MlflowException as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"the exported model does not answer: {reason}") from error
    if answer != PairPredictor(exported).answer([tuple(example.iloc[0])], threshold, registers=True):
        raise ValueError("the exported model answers something else once it is written and read")


def _example(side: int) -> pd.DataFrame:
    """Draw a pair of pictures as a request has them: a bright square before a grey wall."""
    from maskdepth.serving.answers import encode_png

    scene = np.full((side, side, 3), 128, np.uint8)
    visited = scene.copy()
    visited[side // 4 : side // 2, side // 4 : side // 2] = 230
    return pd.DataFrame([{name: encode_png(picture) for name, picture in zip(INPUTS, (scene, visited), strict=True)}])


def is_servable(client: "MlflowClient", model_id: str) -> bool:
    """Tell whether a model and its exported network are there."""
    from mlflow.exceptions import MlflowException

    folder = NETWORK_PATH.rpartition("/")[0]
    try:
        is_ready = str(client.get_logged_model(model_id).status) == "READY"
        return is_ready and NETWORK_PATH in [
            entry.path for entry in client.list_logged_model_artifacts(model_id, folder)
        ]
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # deleted
            return False
        raise


def _find_model(connection: Connection, experiment: str, digest: str) -> str | None:
    """Find the model of these weights; remove what a killed sender left of it, and one whose files are gone."""
    ready = None
    for model in _models_of(connection, experiment, digest):
        if is_servable(connection.client, model.model_id):
            ready = ready or model.model_id
        else:
            connection.client.delete_logged_model(model.model_id)
    return ready


def _models_of(connection: Connection, experiment: str, digest: str) -> "list[LoggedModel]":
    return list(
        connection.client.search_logged_models(
            [connection.experiments[experiment]], filter_string=f"tags.`{DIGEST_TAG}` = '{digest}'"
        )
    )


def _log_model(connection: Connection, experiment: str, run_id: str, folder: Path, digest: str) -> str:
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client = connection.client
    number = connection.experiments[experiment]
    run = client.get_run(run_id)
    name = re.sub(_NOT_IN_A_NAME, "_", run.info.run_name)
    logged = client.create_logged_model(
        number, name, source_run_id=run_id, tags={DIGEST_TAG: digest}, params=dict(run.data.params)
    )
    description = Model.load(str(folder))
    description.run_id, description.model_id = run_id, logged.model_id
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def _send_numbers(client: "MlflowClient", run_id: str, model_id: str) -> None:
    """Give a model the numbers of the test split of the run that made it, and say which data set that is."""
    from mlflow.entities import Metric

    model, run = client.get_logged_model(model_id), client.get_run(run_id)
    if model.source_run_id != run_id or model.metrics:
        return
    used = [found.dataset for found in run.inputs.dataset_inputs] if run.inputs else []
    tested = next((dataset for dataset in used if dataset.name == _TEST), None)
    name, digest = (tested.name, tested.digest) if tested else (None, None)
    # The very points that the run has: with another time they would be further ones.
    points = [client.get_metric_history(run_id, key)[-1] for key in run.data.metrics if key.startswith(f"{_TEST}/")]
    metrics = [
        Metric(p.key, p.value, p.timestamp, p.step, model_id=model_id, dataset_name=name, dataset_digest=digest)
        for p in points
    ]
    client.log_batch(run_id, metrics)


def _link_model(connection: Connection, run_id: str, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = connection.client.get_run(run_id).outputs
    linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
    if model_id not in linked:
        connection.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
