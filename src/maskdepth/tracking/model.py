"""The trained network as an MLflow model that loads anywhere: exported, not pickled, checked before it is sent.

Six ways of logging a network end in a model that is READY and wrong. What works is kept here: one unnamed float32 input
with any batch, height and width, one stacked output, evaluation mode, CPU, and an example of two pictures, since a
dimension that is 1 in the example is taken for a constant.
"""

import copy
import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from maskdepth.tracking.store import Connection

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

_FOLDER = "maskdepth"
DIGEST_TAG = "maskdepth.model_sha256"

# What MLflow refuses in the name of a model.
_NOT_IN_A_NAME = r"""[/:.%"']"""
# The data set that a model is measured on, and the beginning of what is measured.
_TEST = "test"
_EXAMPLE_SIDE = 32  # [px]
_TOLERANCE = 1e-4  # of outputs in [0, 1]: exported kernels may add in another order
# What an exporter that meets a network it cannot follow raises.
_EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError)


class ServedNetwork(nn.Module):
    """A network with one input and one output, as model servers want it.

    Args:
        network: `network(background, composite)` gives `.mask_logits` and `.depth`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Predict mask and depth.

        Args:
            pictures: (B, 6, H, W) background, then composite, [0, 1].

        Returns:
            (B, 2, H, W) mask probability, then depth (0 near, 1 far), [0, 1].
        """
        prediction = self.network(pictures[:, :3], pictures[:, 3:])
        return torch.cat([prediction.mask_logits.sigmoid(), prediction.depth], 1)


def send_model(connection: Connection, experiment: str, run_id: str, path: Path) -> str:
    """Give a run its model: link the one that the store has already, else export and log it.

    Args:
        connection: The open store.
        experiment: Name of the MLflow experiment.
        run_id: The run.
        path: Weights that `maskdepth.models.saved.load_network` reads.

    Returns:
        "ok", or "failed: " and the reason why the network could not be exported.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model_id = _find_model(connection, experiment, digest)
    if model_id is None:
        from maskdepth.models.saved import load_network

        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / _FOLDER
            try:
                export_model(load_network(path), exported)
            except ValueError as error:
                return f"failed: {error}"
            model_id = _log_model(connection, experiment, run_id, exported, digest)
    _link_model(connection, run_id, model_id)
    _send_numbers(connection.client, run_id, model_id)
    return "ok"


def export_model(network: nn.Module, folder: Path) -> None:
    """Write a network as an MLflow model and check that it predicts what the network does.

    Args:
        network: As for `ServedNetwork`.
        folder: Where to write; must not exist.

    Raises:
        ValueError: The network cannot be exported, or predicts something else when it is.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # Of channels-last weights the export warns that none of them is complete.
    served = ServedNetwork(copy.deepcopy(network)).cpu().to(memory_format=torch.contiguous_format).eval()
    pictures = TensorSpec(np.dtype(np.float32), (-1, 6, -1, -1))
    maps = TensorSpec(np.dtype(np.float32), (-1, 2, -1, -1))
    try:
        mlflow.pytorch.save_model(
            served,
            folder,
            serialization_format="pt2",
            signature=ModelSignature(Schema([pictures]), Schema([maps])),
            input_example=_example(2),
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", f"mlflow=={mlflow.__version__}"],
        )
        loaded = mlflow.pyfunc.load_model(str(folder))
    except (MlflowException, *_EXPORT_ERRORS) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{type(network).__name__} cannot be exported: {reason}") from error
    for num_samples in (1, 3):
        with torch.no_grad():
            expected = served(torch.from_numpy(_example(num_samples))).numpy()
        difference = float(np.abs(loaded.predict(_example(num_samples)) - expected).max())
        if not difference < _TOLERANCE:
            raise ValueError(f"the exported model differs by {difference:g} at batch size {num_samples}")


def _example(num_samples: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    side = _EXAMPLE_SIDE
    return np.random.default_rng(0).random((num_samples, 6, side, side), dtype=np.float32)


def _find_model(connection: Connection, experiment: str, digest: str) -> str | None:
    """Find the model of these weights; remove what a killed sender left of it."""
    ready = None
    for model in _models_of(connection, experiment, digest):
        if str(model.status) == "READY":
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
