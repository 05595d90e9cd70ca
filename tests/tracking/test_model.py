"""The model of a row: exported, linked where it is there already, kept as a file where it cannot be."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.stored import (
    MLFLOW_WARNINGS,
    SOURCE,
    history,
    name_experiment,
    put_row,
    send,
)
from support.tracked import write_weights

from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import Journal
from maskdepth.tracking.store import connect
from maskdepth.tracking.tags import read_tags

pytestmark = MLFLOW_WARNINGS


def write_details(workspace: Path, numbers: dict[str, float]) -> None:
    """Add to the evaluation the table of what is no metric of DVC's."""
    path = workspace / "reports" / "details.json"
    path.write_text(json.dumps(numbers))
    Journal(workspace / "journals" / "evaluate.jsonl").artifact(Path("reports/details.json"), "tables")


def test_weights_that_cannot_be_exported_are_kept_as_a_file(experiment):
    run = send(put_row(experiment))  # an empty file for weights
    assert read_tags(run)["model.export"].startswith("failed: ")
    client = connect(locate_store()).client
    assert [f.path for f in client.list_artifacts(run.info.run_id, "model")] == ["model/model.safetensors"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_restored_experiment_links_the_model_that_is_there(experiment, monkeypatch):
    write_weights(experiment / "models" / "model.safetensors")
    write_details(experiment, {"threshold": 0.4})
    name_experiment(monkeypatch, "with-model")
    run = send(put_row(experiment))
    name_experiment(monkeypatch, "with-model-again")
    restored = send(put_row(experiment))
    assert read_tags(run)["model.export"] == read_tags(restored)["model.export"] == "ok"
    (first,), (second,) = run.outputs.model_outputs, restored.outputs.model_outputs
    assert first.model_id == second.model_id
    assert restored.info.run_id != run.info.run_id
    client = connect(locate_store()).client
    model = client.get_logged_model(first.model_id)
    assert (model.name, model.params["loss.depth"]) == ("bce|l1-s0", "l1")
    assert {metric.key: metric.value for metric in model.metrics}["test/mask_iou"] == 0.5
    assert history(run, "test/mask_iou") == [(0, 0.5)]
    card = Path(model.artifact_location.removeprefix("file://"), "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert "# bce|l1-s0" in card
    check_model_in_a_fresh_process(first.model_id, experiment)
    shutil.rmtree(model.artifact_location.removeprefix("file://"))
    name_experiment(monkeypatch, "with-model-once-more")
    (third,) = send(put_row(experiment)).outputs.model_outputs
    assert third.model_id != first.model_id  # what has lost its files is no model


def check_model_in_a_fresh_process(model_id: str, workspace: Path) -> None:
    """Ask the stored model where nothing may be unpickled, and hold its answer against the network's own."""
    from maskdepth.models.saved import load_network
    from maskdepth.serving.answers import encode_png
    from maskdepth.serving.predict import predict_arrays

    random = np.random.default_rng(0)
    background, composite = random.integers(0, 256, (2, 33, 47, 3), dtype=np.uint8)
    expected = predict_arrays(load_network(workspace / "models" / "model.safetensors"), background, composite)
    pair = {"background": encode_png(background), "composite": encode_png(composite)}
    (workspace / "request.json").write_text(json.dumps([pair]))
    code = (
        f"import json, mlflow, pandas; mlflow.set_tracking_uri({locate_store().uri!r});"
        f"model = mlflow.pyfunc.load_model('models:/{model_id}');"
        "asked = pandas.DataFrame(json.load(open('request.json')));"
        "json.dump(model.predict(asked, params={'register': False}), open('answer.json', 'w'))"
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    subprocess.run([sys.executable, "-c", code], cwd=workspace, env=environment, check=True)
    (answer,) = json.loads((workspace / "answer.json").read_text())
    depth = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["depth"])))) / 65535
    np.testing.assert_allclose(depth, expected.depth, atol=1e-4)
    assert answer["object_share"] == pytest.approx((expected.mask_prob > 0.4).mean(), abs=1e-3)  # see DETAILS
    assert (answer["width"], answer["height"]) == (47, 33)
