"""Rows put and sent as a workspace does it, and the runs that a store then has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import maskdepth.process.git
import maskdepth.tracking.store
from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.mirror import mirror_rows
from maskdepth.tracking.runs import put_experiment_row
from maskdepth.tracking.store import connect

SOURCE = Path(maskdepth.tracking.store.__file__).parents[2]
CONNECT = "from maskdepth.tracking.address import locate_store;from maskdepth.tracking.store import connect"
ROW_FILE = Path("metrics/mlflow.json")

# MLflow and its libraries use what they themselves have deprecated.
MLFLOW_WARNINGS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def enter(monkeypatch, root: Path, workspace: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(workspace)


def put_row(workspace: Path) -> Path:
    return put_experiment_row(
        load_params(),
        workspace / "journals",
        workspace / "models",
        workspace / "measured" / "train.json",
        workspace / "measured" / "test.json",
        workspace / "curves.png",
    )


def name_experiment(monkeypatch, name: str) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", name)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)


def send(folder: Path):
    sent = dict(mirror_rows(60))[folder.name]
    assert (sent.is_complete, sent.reason) == (True, "")
    client = connect(locate_store()).client
    return client.get_run(sent.run_id)


def sync() -> list[str]:
    return list(repair.sync(60, ROW_FILE))


def runs_of(train_id: str) -> list:
    connection = connect(locate_store())
    return connection.client.search_runs([connection.experiments[EXPERIMENT]], f"tags.`maskdepth.train` = '{train_id}'")


def history(run, name: str) -> list[tuple[int, float]]:
    client = connect(locate_store()).client
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def train_id(workspace: Path) -> str:
    return read_journal(workspace / "journals" / "train.jsonl").id


def run_python(code: str, cwd: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=environment, stdout=-1, stderr=-1, text=True)
