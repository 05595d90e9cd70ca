"""A store that several processes make, use and are killed in stays whole, and comes back from nothing."""

import os
import signal
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest
from support.stored import CONNECT, MLFLOW_WARNINGS, history, put_row, run_python, runs_of, train_id

from maskdepth.tracking import repair
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.mirror import mirror_rows
from maskdepth.tracking.runs import put_data_row
from maskdepth.tracking.store import Deadline, connect

pytestmark = MLFLOW_WARNINGS


def test_artifacts_lie_in_the_repository_wherever_the_store_was_made(workspace, shared_root):
    connection = connect(locate_store())
    places = {found.name: found.artifact_location for found in connection.client.search_experiments()}
    assert not workspace.is_relative_to(shared_root)
    assert places[EXPERIMENT] == f"{shared_root}/mlartifacts/maskdepth"
    assert all(place.startswith(f"{shared_root}/mlartifacts") for place in places.values())


def test_an_experiment_deleted_in_the_interface_comes_back(workspace):
    connection = connect(locate_store())
    connection.client.delete_experiment(connection.experiments[EXPERIMENT])
    assert connect(locate_store()).experiments == connection.experiments
    assert connection.client.get_experiment(connection.experiments[EXPERIMENT]).lifecycle_stage == "active"


@pytest.mark.parametrize(
    ("left", "patience", "wanted"),
    [
        (60.0, {}, {}),
        (20.0, {}, {"TIMEOUT": "10", "MAX_RETRIES": "0"}),
        (4.5, {}, {"TIMEOUT": "4", "MAX_RETRIES": "0"}),
        (0.2, {}, {"TIMEOUT": "1", "MAX_RETRIES": "0"}),
        (60.0, {"TIMEOUT": "120", "MAX_RETRIES": "5"}, {"TIMEOUT": "60", "MAX_RETRIES": "0"}),
    ],
)
def test_only_as_much_patience_is_left_as_there_is_time(monkeypatch, left, patience, wanted):
    def settings():
        return {name: os.environ.get(f"MLFLOW_HTTP_REQUEST_{name}") for name in ("TIMEOUT", "MAX_RETRIES")}

    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    for name, value in patience.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    before = settings()
    with Deadline(left) as deadline:
        deadline.check()
        assert settings() == before | wanted
    assert settings() == before


SEND = "from maskdepth.tracking.mirror import mirror_rows; print(*dict(mirror_rows(60)).values())"


@pytest.mark.slow
def test_four_processes_on_a_fresh_store_all_succeed(fresh):
    code = (
        f"{CONNECT}; c = connect(locate_store());"
        "[c.client.log_metric(c.client.create_run(c.experiments['maskdepth']).info.run_id, 'x', 1) for _ in range(5)]"
    )
    processes = [run_python(code, fresh) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 4
    connection = connect(locate_store())
    assert len(connection.client.search_runs([connection.experiments[EXPERIMENT]])) == 20


@pytest.mark.nightly
def test_a_kill_at_any_instant_of_the_first_use_leaves_a_usable_store(fresh):
    code = f"import mlflow; print(1, flush=True); {CONNECT}; connect(locate_store())"
    moments = np.random.default_rng(0).uniform(0, 1.5, 10)
    for seconds in moments:
        with run_python(code, fresh) as process:
            process.stdout.readline()
            time.sleep(seconds)
            process.kill()
        assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
        (fresh / "mlflow.db").unlink()
    assert len(moments) == 10


@pytest.mark.nightly
def test_a_sender_killed_at_any_instant_leaves_no_double_and_loses_nothing(experiment):
    put_data_row(experiment / "journals" / "index.jsonl", "index")
    folder = put_row(experiment)
    for seconds in np.random.default_rng(0).uniform(0, 0.6, 12):
        code = f"import mlflow, PIL.Image; print(1, flush=True); {SEND}"
        with run_python(code, experiment) as process:
            process.stdout.readline()
            time.sleep(seconds)
            process.kill()
    dict(mirror_rows(60))
    assert not folder.exists()
    (run,) = runs_of(train_id(experiment))
    assert (run.info.status, history(run, "val/mask_iou")) == ("FINISHED", [(1, 1.0), (2, 0.5)])
    connection = connect(locate_store())
    assert len(connection.client.list_artifacts(run.info.run_id, "pictures")) == 3
    journal_id = read_journal(experiment / "journals" / "index.jsonl").id
    data = connection.experiments["maskdepth-data"]
    assert len(connection.client.search_runs([data], f"tags.`maskdepth.journal` = '{journal_id}'")) == 1


def test_a_store_taken_away_alone_does_not_come_back_from_what_a_killed_sender_left_beside_it(fresh):
    connection = connect(locate_store())
    kill = (
        f"import os, signal; {CONNECT}; c = connect(locate_store());"
        "c.client.create_run(c.experiments['maskdepth']); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = run_python(kill, fresh)
    assert killed.communicate() == ("", "")
    assert killed.returncode == -signal.SIGKILL
    assert (fresh / "mlflow.db-wal").stat().st_size > 0
    (fresh / "mlflow.db").rename(fresh / "damaged.db")
    again = run_python(
        f"{CONNECT}; connect(locate_store())",
        fresh,
    )
    assert again.communicate() == ("", "")
    with closing(sqlite3.connect(connection.store.database)) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_an_empty_file_in_the_place_of_the_store_is_no_store(fresh):
    (fresh / "mlflow.db").touch()
    assert repair.check_store() == []
    assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
