"""Proves that no trouble of a tracking store slows a training or costs a point: after a sync each is there once."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from faults.doors import Door, tracking_server
from support.settings import copy_params
from support.tracked import write_epoch, write_experiment, write_training
from support.trained import read_only, small_disk
from support.waiting import patience, wait_until

from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import FINISHED, read_journal
from maskdepth.tracking.live import start_mirror
from maskdepth.tracking.mirror import mirror_row
from maskdepth.tracking.outbox import put_live_row, waiting_rows
from maskdepth.tracking.runs import live_row, put_experiment_row
from maskdepth.tracking.store import connect

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ROOT = Path(__file__).parents[2]
ROW_FILE = Path("metrics/mlflow.json")
SLOWEST_WRITE = 1.0  # [s] of an epoch's metrics; far below the 4 to 240 s of one call to a server that is away


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository without a store, to be in."""
    (tmp_path / ".dvc").mkdir()
    copy_params(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server; its folder and port."""
    folder = tmp_path_factory.mktemp("server")
    with tracking_server(folder) as port:
        yield folder, port


@pytest.fixture
def door(root, server, monkeypatch):
    """The door through which the repository reaches the server; shut at first."""
    door = Door(server[1])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{door.port}")
    yield door
    door.shut()


def write_epochs(journal, epochs, pause=0.0):
    """Write epochs as a training does; none may wait for a store."""
    for epoch in epochs:
        began = time.monotonic()
        write_epoch(journal, epoch)
        assert time.monotonic() - began < patience(SLOWEST_WRITE)
        time.sleep(pause)


def sync():
    return list(repair.sync(60, ROW_FILE))


def stored_points(database, train_id):
    """Count how often each point of a training is in the store, in runs that are not deleted."""
    with closing(sqlite3.connect(database)) as store:
        points = store.execute(
            "select m.key, m.step, m.value from metrics m join runs r using (run_uuid) join tags t using (run_uuid) "
            "where r.lifecycle_stage = 'active' and t.key = 'maskdepth.train' and t.value = ?",
            [train_id],
        ).fetchall()
    return Counter(points)


def stored_runs(database, train_id):
    """Give the status of each run of a training that is not deleted."""
    with closing(sqlite3.connect(database)) as store:
        return store.execute(
            "select r.run_uuid, r.status from runs r join tags t using (run_uuid) "
            "where r.lifecycle_stage = 'active' and t.key = 'maskdepth.train' and t.value = ?",
            [train_id],
        ).fetchall()


def assert_each_point_once(database, journal_path, epochs):
    journal = read_journal(journal_path)
    stored = stored_points(database, journal.id)
    assert stored == Counter((point.name, point.step, point.value) for point in journal.points)
    assert stored.total() == 6 * epochs
    assert [status for _, status in stored_runs(database, journal.id)] == [FINISHED]


@pytest.mark.parametrize("is_held", [False, True])
def test_a_server_that_is_away_or_hangs_from_start_to_end_gets_everything_later(root, server, door, is_held):
    if is_held:
        door.hold()
    journal = write_training(root / "train.jsonl", epochs=0)
    mirror = start_mirror(journal.path, load_params())
    write_epochs(journal, range(1, 41), pause=0.1)
    journal.end(FINISHED)
    assert "`maskdepth sync` sends" in mirror.finish(0.5)
    mirror.process.kill()
    mirror.process.wait()
    assert len(waiting_rows()) == 1
    door.open()
    (line,) = sync()
    assert ": sent" in line
    assert_each_point_once(server[0] / "server.db", journal.path, epochs=40)


def test_a_server_that_goes_and_comes_back_misses_nothing(root, server, door):
    database = server[0] / "server.db"
    door.open()
    journal = write_training(root / "train.jsonl", epochs=1)
    mirror = start_mirror(journal.path, load_params())
    wait_until(lambda: stored_points(database, read_journal(journal.path).id).total() == 6)
    door.shut()
    write_epochs(journal, range(2, 21), pause=0.1)
    wait_until(lambda: "Connection refused" in (mirror.folder / "mirror.log").read_text())
    door.open()
    write_epochs(journal, range(21, 41), pause=0.1)
    journal.end(FINISHED)
    mirror.finish(30)
    sync()
    assert_each_point_once(database, journal.path, epochs=40)


def test_a_lost_answer_doubles_nothing_whichever_it_is(root, server, door):
    database = server[0] / "server.db"
    door.open()
    paths = ("experiments/get-by-name", "runs/search", "runs/create", "runs/log-batch", "runs/update")
    for number, path in enumerate(paths, start=1):
        journal = write_training(root / f"{number}.jsonl", epochs=40)
        folder = put_live_row(live_row(read_journal(journal.path).id, load_params()), journal.path)
        journal.end(FINISHED)
        door.lose_answer(path)
        mirror_row(folder, 60)  # long enough to ask again
        assert door.lost == number
        sync()
        assert_each_point_once(database, journal.path, epochs=40)
    with closing(sqlite3.connect(database)) as store:  # asked again, the server has made one run twice
        assert store.execute("select count(*) from runs where lifecycle_stage = 'deleted'").fetchone() == (1,)


def test_a_store_locked_by_another_writer_delays_only_the_mirror(root):
    database = root / "mlflow.db"
    connect(locate_store())
    journal = write_training(root / "train.jsonl", epochs=1)
    folder = put_live_row(live_row(read_journal(journal.path).id, load_params()), journal.path)
    with closing(sqlite3.connect(database)) as other:
        other.execute("begin immediate")
        sent = []
        sender = threading.Thread(target=lambda: sent.append(mirror_row(folder, 30)))
        began = time.monotonic()
        sender.start()
        write_epochs(journal, range(2, 41), pause=0.6)
        sender.join(max(0, began + 25 - time.monotonic()))
        other.rollback()
    sender.join()
    journal.end(FINISHED)
    assert sent[0].reason == "database is locked"
    sync()
    assert_each_point_once(database, journal.path, epochs=40)


@contextmanager
def full(folder):
    """Leave no byte free in the file system of a folder."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    yield
    (folder / "filler").unlink()


def run_command(name):
    """Run a command of ours in a process of its own, which keeps no file open; give what it prints on one line."""
    command = [sys.executable, "-m", "maskdepth.cli", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("harmed", "finding"),
    [(full, "mlflow.db has no room to grow: free some space"), (read_only, "mlflow.db cannot be written: make it and")],
)
def test_a_store_that_is_full_or_read_only_gets_everything_once_that_is_mended(root, monkeypatch, harmed, finding):
    store = root / "store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///store/mlflow.db")
    journal = write_training(root / "train.jsonl", epochs=1)
    with small_disk(store, 4 << 20):
        run_command("sync")  # makes the store
        with harmed(store):
            mirror = start_mirror(journal.path, load_params())
            write_epochs(journal, range(2, 41), pause=0.1)
            journal.end(FINISHED)
            assert mirror.finish(60) == "tracking: the store did not take everything; `maskdepth sync` sends the rest"
            assert ": waits: " in run_command("sync")
            found = run_command("doctor")
            assert finding in found
            assert "1 rows wait to be sent; `maskdepth sync` sends them" in found
        assert ": sent" in run_command("sync")  # a busy machine says that it waits, too
        assert_each_point_once(store / "mlflow.db", journal.path, epochs=40)


def test_artifacts_that_cannot_be_written_wait_and_the_points_are_there_once(root):
    write_experiment(root)
    shutil.copy(root / "reports" / "pictures" / "best.png", root / "curves.png")
    connect(locate_store())
    (root / "mlartifacts" / "maskdepth").mkdir(parents=True, exist_ok=True)
    measured = root / "measured"
    folder = put_experiment_row(
        load_params(), root / "journals", root / "models", measured / "train.json", measured / "test.json",
        root / "curves.png",
    )  # fmt: skip
    with read_only(root / "mlartifacts" / "maskdepth"):
        sent = mirror_row(folder, 60)
    assert not sent.is_complete
    assert "mlartifacts" in sent.reason
    assert sync()[0].endswith(": sent")
    (run,) = stored_runs(root / "mlflow.db", read_journal(root / "journals" / "train.jsonl").id)
    assert set(stored_points(root / "mlflow.db", read_journal(root / "journals" / "train.jsonl").id).values()) == {1}
    artifacts = {path.name for path in (root / "mlartifacts" / "maskdepth" / run[0]).rglob("*.png")}
    assert {"best.png", "curves.png"} <= artifacts


def test_a_run_deleted_by_hand_is_made_again_with_all_its_points(root):
    journal = write_training(root / "train.jsonl", epochs=20)
    train_id = read_journal(journal.path).id
    folder = put_live_row(live_row(train_id, load_params()), journal.path)
    run_id = mirror_row(folder, 60).run_id
    connect(locate_store()).client.delete_run(run_id)
    write_epochs(journal, range(21, 41))
    journal.end(FINISHED)
    assert mirror_row(folder, 60).is_complete
    assert_each_point_once(root / "mlflow.db", journal.path, epochs=40)
    assert stored_runs(root / "mlflow.db", train_id)[0][0] != run_id


WRITER = """
import pathlib, sys, time
from maskdepth.params import load_params
from maskdepth.tracking.live import start_mirror
from support.tracked import write_epoch, write_training
journal = write_training(pathlib.Path(sys.argv[1]), epochs=0)
mirror = start_mirror(journal.path, load_params())
slowest = 0.0
for epoch in range(1, 41):
    began = time.monotonic()
    write_epoch(journal, epoch)
    slowest = max(slowest, time.monotonic() - began)
    time.sleep(0.1)
journal.end("FINISHED")
mirror.finish(20)
print(slowest)
"""


def test_four_trainings_at_once_share_a_fresh_store(root):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, f"{n}.jsonl"], env=environment, stdout=-1, text=True)
        for n in range(4)
    ]
    assert all(float(writer.communicate()[0]) < patience(SLOWEST_WRITE) for writer in writers)
    sync()
    assert waiting_rows() == []
    for number in range(4):
        assert_each_point_once(root / "mlflow.db", root / f"{number}.jsonl", epochs=40)
