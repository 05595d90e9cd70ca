"""The report stage gives an experiment its row, or says where it waits, and never fails for the store's sake."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.doors import drip, false_server
from support.tracked import write_experiment

import stages.report
from maskdepth.process import limited
from maskdepth.process.command import CONFLICT, guard
from maskdepth.tracking import outbox, repair, sending
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.sending import ask_store
from maskdepth.tracking.store import connect
from maskdepth.tracking.tags import read_tags
from stages.report import main

SOURCE = Path(outbox.__file__).parents[2]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository in which the six stages have run."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path)
    return tmp_path


def report() -> dict[str, str]:
    row = Path("metrics/mlflow.json")
    main(Path("journals"), Path("models"), Path("measured/train.json"), Path("measured/test.json"), row)
    return json.loads(row.read_text())["mlflow"]


def test_the_row_is_complete_linked_to_its_data_and_named_in_a_file(repository, capsys):
    Path("dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  index:\n    cmd: x\n    outs:\n    - path: data/index.csv\n      md5: {'a' * 32}\n"
        f"    - path: journals/index.jsonl\n      md5: {'b' * 32}\n"
    )
    named = report()
    connection = connect(locate_store())
    run = connection.client.get_run(named["run_id"])
    assert run.info.run_name == named["run_name"]
    runs = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=maskdepth"
    assert capsys.readouterr().out.splitlines() == [
        f"report: row {named['run_name']} in sqlite:///{repository}/mlflow.db (complete)",
        "look at the runs with `mlflow ui`, then open",
        f"runs: {runs}",
        f"means over seeds: {runs}-means&compareRunsMode=CHART",
    ]
    assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["train", "validation", "test"]
    assert read_tags(run)["dvc.out.index.csv"] == "a" * 32
    for stage in ("unzip", "index", "stats", "split"):
        data = connection.client.get_run(read_tags(run)[f"maskdepth.data.{stage}"])
        assert (data.data.tags["maskdepth.stage"], data.info.status) == (stage, "FINISHED")
    assert report() == named
    for name in ("test.json", "train.json"):
        assert Path("metrics", name).read_bytes() == Path("measured", name).read_bytes()


def test_without_a_store_the_row_waits_and_the_stage_succeeds(repository, monkeypatch, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        named = report()
    assert named == {"run_id": "", "run_name": named["run_name"], "reason": "[Errno 111] Connection refused"}
    assert capsys.readouterr().out == (
        f"report: row {named['run_name']} waits in the outbox ({address}: [Errno 111] Connection refused); "
        "`maskdepth sync` sends it\n"
    )


def test_without_the_driver_of_a_database_the_row_waits_and_the_module_is_named(repository, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+pg8000://127.0.0.1:9/runs")  # a driver that is not installed
    reason = "the Python module pg8000 is not installed, which the address in MLFLOW_TRACKING_URI needs"
    assert report()["reason"] == reason
    assert f"waits in the outbox (postgresql+pg8000://127.0.0.1:9/runs: {reason})" in capsys.readouterr().out
    assert repair.check_store()[0] == f"the tracking store does not work: {reason}"
    *rows, store = repair.sync(60, Path("metrics/mlflow.json"))
    assert len(rows) == 5
    assert all(line.endswith(f": waits: {reason}") for line in rows)
    assert store == f"postgresql+pg8000://127.0.0.1:9/runs: {reason}"


def test_a_server_that_drips_bytes_for_ever_holds_nobody_beyond_the_time(repository, monkeypatch, capsys):
    monkeypatch.setattr(stages.report, "BUDGET", 2.0)
    monkeypatch.setattr(sending, "_GRACE_SECONDS", 6.0)  # enough for a call to be under way
    monkeypatch.setattr(limited, "_BEAT_SECONDS", 1.0)
    with false_server(drip) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        began = time.monotonic()
        assert report()["reason"] == "the tracking store did not answer in time (no end after 8 s)"
        printed = capsys.readouterr()
        assert "waits in the outbox" in printed.out
        assert re.search(r"^report: sending, 0 rows done after \d+ s$", printed.err, re.MULTILINE)
        for question in ([repair.sync, 1, Path("metrics/mlflow.json")], [repair.check_store]):
            *_, line = ask_store(1, *question)
            assert line.startswith("the tracking store did not answer in time (no end after 7 s)")
        assert time.monotonic() - began < 8 + 2 * 7 + 20


def test_a_row_that_another_process_holds_ends_the_wait_with_its_number(repository, monkeypatch, capsys):
    monkeypatch.setattr(outbox, "_PATIENCE_SECONDS", 0.5)
    key = read_journal(Path("journals/train.jsonl")).id
    code = (
        "from maskdepth.tracking.outbox import outbox_dir, row_lock\n"
        f"with row_lock(outbox_dir() / 'x', '{key}', 1): print('held', flush=True); input()"
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SystemExit) as ended:
            guard(report)
        assert ended.value.code == CONFLICT
        assert re.search(
            rf"error: .*{key}\.lock is held by process {holder.pid}; wait for it to end", capsys.readouterr().err
        )
        holder.communicate("\n")
    assert report()["run_id"]


def test_a_stage_that_has_not_run_is_named(repository):
    Path("journals/evaluate.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"evaluate\.jsonl: no journal here; .*`dvc repro`"):
        report()
