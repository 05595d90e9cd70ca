"""Proves that the weights of a run or of a registered model come out of the store, and what is missing is told."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from faults.doors import tracking_server
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from maskdepth.process.workspace import state_dir
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.model import NETWORK_PATH
from maskdepth.tracking.outbox import MODEL
from maskdepth.tracking.store import connect
from maskdepth.tracking.weights import download_weights, fetch_weights

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A repository whose store has a champion, a run without a model, and a model without weights."""
    folder = tmp_path_factory.mktemp("root")
    (folder / ".dvc").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        fill_store()
    return folder


def enter(patch, folder):
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        patch.delenv(name)
    patch.setenv("DVC_ROOT", str(folder))
    patch.chdir(folder)


def fill_store():
    connection = connect(locate_store())
    client, experiment = connection.client, connection.experiments[EXPERIMENT]
    champion = make_run(client, experiment, "bce|l1-s0", {MODEL: b"the champion's", NETWORK_PATH: b""})
    make_run(client, experiment, "dice|l1-s0", {MODEL: b"another's", NETWORK_PATH: b""})
    make_run(client, experiment, "dice|ssim-s0", None)
    make_run(client, experiment, "old", {NETWORK_PATH: b""})
    client.create_registered_model("maskdepth")
    client.create_model_version("maskdepth", f"models:/{champion}", model_id=champion)
    client.set_registered_model_alias("maskdepth", "champion", "1")


def make_run(client, experiment, name, files):
    """Make a run that has ended, with a model of these files or without one; give the id of the model."""
    run_id = client.create_run(experiment, run_name=name).info.run_id
    model_id = None
    if files is not None:
        model_id = client.create_logged_model(experiment, "model", source_run_id=run_id).model_id
        for path, content in files.items():
            (Path("logged") / path).parent.mkdir(parents=True, exist_ok=True)
            (Path("logged") / path).write_bytes(content)
        client.log_model_artifacts(model_id, "logged")
        shutil.rmtree("logged")
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    client.set_terminated(run_id, "FINISHED")
    return model_id


@pytest.fixture
def repository(recorded, monkeypatch):
    enter(monkeypatch, recorded)
    return recorded


def download(name):
    (path,) = download_weights(name)
    return path.read_bytes()


def test_the_weights_of_a_run_are_found_by_its_name_and_its_id(repository):
    connection = connect(locate_store())
    runs = connection.client.search_runs([connection.experiments[EXPERIMENT]])
    run_id = next(run.info.run_id for run in runs if run.info.run_name == "dice|l1-s0")
    assert {download(name) for name in ("dice|l1-s0", f"runs:/{run_id}", run_id[:8])} == {b"another's"}


def test_a_registered_model_is_found_by_alias_and_by_version(repository):
    assert download("models:/maskdepth@champion") == download("models:/maskdepth/1") == b"the champion's"


def test_weights_are_brought_once(repository):
    (path,) = download_weights("models:/maskdepth@champion")
    assert path.is_relative_to(state_dir())
    before = path.stat().st_mtime_ns
    assert list(download_weights("models:/maskdepth/1")) == [path] and path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/maskdepth@winner", "alias winner not found; `maskdepth promote` makes a champion, `mlflow ui` shows"),
        ("models:/other@champion", "other.*not found; `maskdepth promote` makes a champion"),
        ("models:/maskdepth/7", "7.*not found; `maskdepth promote` makes a champion"),
        ("models:/maskdepth", "which version"),
        ("runs:/0123456789abcdef0123456789abcdef", "no run or DVC experiment '0123456789abcdef0123456789abcdef' in"),
        ("bce|l1-s1", r"no run or DVC experiment 'bce\|l1-s1' in .*did you mean bce\|l1-s0\?"),
        ("dice|ssim-s0", r"dice\|ssim-s0 \([0-9a-f]{8}\) has no model"),
        ("old", r"model\.safetensors"),
    ],
)
def test_what_the_store_does_not_have_is_told_with_its_name(repository, name, message):
    with pytest.raises(ValueError, match=message) as told:
        list(download_weights(name))
    assert str(told.value).startswith(f"{name}: ")
    assert "\n" not in str(told.value)


def test_without_a_store_none_is_built(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    enter(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=r"^models:/maskdepth@champion: .*mlflow\.db: no store here, so no runs; `dvc"):
        download("models:/maskdepth@champion")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_that_is_away_is_told_with_its_address(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    enter(monkeypatch, tmp_path)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ValueError, match=rf"^models:/maskdepth@champion: {address}: .*refused"):
        download("models:/maskdepth@champion")


@pytest.mark.nightly
def test_a_server_gives_them_too(tmp_path, monkeypatch):
    (tmp_path / "root" / ".dvc").mkdir(parents=True)
    enter(monkeypatch, tmp_path / "root")
    (tmp_path / "server").mkdir()
    with tracking_server(tmp_path / "server") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        fill_store()
        assert fetch_weights("models:/maskdepth@champion").read_bytes() == b"the champion's"
        assert fetch_weights("dice|l1-s0").read_bytes() == b"another's"
        with pytest.raises(ValueError, match=r"^models:/maskdepth@winner: .*alias winner not found"):
            fetch_weights("models:/maskdepth@winner")
