"""Several people on the server of docs/SERVER.md: nothing is lost or doubled, and who is refused is told the cure."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.settings import copy_params
from support.shared_server import SharedServer, shared_server
from support.stored import MLFLOW_WARNINGS, enter, put_row, sync
from support.tracked import write_experiment
from support.waiting import patience, wait_until

from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import FINISHED, read_journal
from maskdepth.tracking.outbox import waiting_rows
from maskdepth.tracking.store import connect

pytestmark = MLFLOW_WARNINGS
WRITERS, EPOCHS, METRICS = 10, 30, 10
EVERY = WRITERS * EPOCHS * METRICS
SECONDS_TO_SEND = 30.0

WRITER = f"""
import pathlib, sys, time
from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import Journal
from maskdepth.tracking.live import start_mirror
gates = pathlib.Path(sys.argv[2])
journal = Journal(pathlib.Path("train.jsonl"))
journal.start("train")
mirror = start_mirror(journal.path, load_params())
for epoch in range(1, {EPOCHS} + 1):
    journal.metrics({{f"val/m{{n}}": int(sys.argv[1]) + n / 10 + epoch / 1000 for n in range({METRICS})}}, epoch)
    gate = {{{EPOCHS} // 3: "third", {EPOCHS} - 1: "last"}}.get(epoch)
    while gate and not (gates / gate).exists():
        time.sleep(0.1)
    time.sleep(0.2)
journal.end("FINISHED")
began = time.monotonic()
told = mirror.finish(300)
print(f"{{time.monotonic() - began:.1f}} {{told}}")
"""


def new_repository(folder: Path) -> Path:
    (folder / ".dvc").mkdir(parents=True)
    copy_params(folder)
    return folder


def points_by_run(server: SharedServer) -> dict[str, Counter[tuple[str, int, float]]]:
    """Give the points of each run that is not deleted, by the training's number, with how often each is there."""
    points: dict[str, Counter[tuple[str, int, float]]] = {}
    for train_id, *point in server.ask(
        "select t.value, m.key, m.step, m.value from metrics m join runs r using (run_uuid) join tags t using "
        "(run_uuid) where r.lifecycle_stage = 'active' and t.key = 'maskdepth.train'"
    ):
        points.setdefault(str(train_id), Counter())[tuple(point)] += 1
    return points


def count_points(server: SharedServer) -> int:
    return sum(points.total() for points in points_by_run(server).values())


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_ten_writers_of_two_users_lose_no_point_when_the_server_is_killed_in_the_middle(tmp_path):
    with shared_server(tmp_path) as server:
        users = server.make_users()
        assert list(users) == ["ann", "bob"]
        folders = [new_repository(tmp_path / f"writer{number}") for number in range(WRITERS)]
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(number), str(tmp_path)], cwd=folder, stdout=-1, text=True,
                env=server.login(*list(users.items())[number % 2]) | {"DVC_ROOT": str(folder)},
            )
            for number, folder in enumerate(folders)
        ]  # fmt: skip
        try:
            wait_until(lambda: count_points(server) == EVERY // 3)
            (tmp_path / "third").touch()
            wait_until(lambda: count_points(server) > EVERY // 3)  # some are sending now
            server.kill()
            killed_with = count_points(server)
            wait_until(lambda: all(is_away(folder) for folder in folders))
            server.start()
            (tmp_path / "last").touch()
            told = [writer.communicate(timeout=600)[0].strip() for writer in writers]
        finally:
            for writer in writers:
                writer.kill()
        print(f"{killed_with} points at the kill; after the end: {told}")
        assert EVERY // 3 < killed_with < EVERY
        assert [line.partition(" ")[2] for line in told] == ["tracking: all sent"] * WRITERS
        assert max(float(line.split()[0]) for line in told) < patience(SECONDS_TO_SEND)
        assert_each_point_once(server, folders)
        server.kill()
        server.copy_and_upgrade()
        assert {path.name for path in tmp_path.glob("*.dump")} == {"mlflow.dump", "mlflow_auth.dump"}
        server.start()
        assert_each_point_once(server, folders)


def is_away(folder: Path) -> bool:
    return any("refused" in log.read_text() for log in folder.rglob("mirror.log"))


def assert_each_point_once(server: SharedServer, folders: list[Path]) -> None:
    journals = [read_journal(folder / "train.jsonl") for folder in folders]
    assert points_by_run(server) == {
        journal.id: Counter((point.name, point.step, point.value) for point in journal.points) for journal in journals
    }
    assert [points.total() for points in points_by_run(server).values()] == [EPOCHS * METRICS] * WRITERS
    assert server.ask("select distinct status from runs where lifecycle_stage = 'active'") == [(FINISHED,)]


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """The server where only who made an experiment may write; it, and the page's users with their passwords."""
    with shared_server(tmp_path_factory.mktemp("strict"), permission="READ") as server:
        yield server, server.make_users()


@pytest.fixture
def waiting(tmp_path, monkeypatch) -> Path:
    """A repository in which a row with pictures waits."""
    root = new_repository(tmp_path / "root")
    write_experiment(root)
    shutil.copy(root / "reports" / "pictures" / "best.png", root / "curves.png")
    enter(monkeypatch, root, root)
    put_row(root)
    return root


def doctor(root: Path, login: dict[str, str]) -> str:
    """Run the command as a user does; give what it prints on one line."""
    done = subprocess.run(
        [sys.executable, "-m", "maskdepth.cli", "doctor"], cwd=root, env=login | {"DVC_ROOT": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def log_in(monkeypatch, login: dict[str, str]) -> None:
    for name, value in login.items():
        if name.startswith("MLFLOW_TRACKING_"):
            monkeypatch.setenv(name, value)


@pytest.mark.nightly
def test_a_wrong_password_is_named_with_its_cure_and_the_row_goes_out_after_it(strict, waiting, monkeypatch):
    server, users = strict
    wrong = server.login("ann", "not-what-it-was")
    log_in(monkeypatch, wrong)
    for printed in (doctor(waiting, wrong), *sync()):
        assert "the server takes no such login (401): " in printed
        assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in printed
        assert "(403)" not in printed
        assert "not-what-it-was" not in printed
    assert len(waiting_rows()) == 1
    log_in(monkeypatch, server.login("ann", users["ann"]))
    assert [line.rpartition(": ")[2] for line in sync()] == ["sent"]
    assert_all_there(server, waiting)


@pytest.mark.nightly
def test_a_user_without_rights_is_told_the_cure_and_the_row_goes_out_after_it(strict, waiting, monkeypatch):
    server, users = strict
    log_in(monkeypatch, server.login("ann", users["ann"]))
    connect(locate_store())  # who comes first makes the experiments
    bob = server.login("bob", users["bob"])
    log_in(monkeypatch, bob)
    for printed in (doctor(waiting, bob), *sync()):
        assert "the server knows the login, which has no right to write here (403): " in printed
        assert "the permission EDIT on the experiments maskdepth and maskdepth-data" in printed
        assert "(401)" not in printed
        assert users["bob"] not in printed
    assert len(waiting_rows()) == 1
    server.grant()
    assert repair.check_store() == ["1 rows wait to be sent; `maskdepth sync` sends them"]
    assert [line.rpartition(": ")[2] for line in sync()] == ["sent"]
    assert_all_there(server, waiting)


def assert_all_there(server: SharedServer, root: Path) -> None:
    journal = read_journal(root / "journals" / "train.jsonl")
    stored = points_by_run(server)[journal.id]
    assert {(point.name, point.step, point.value) for point in journal.points} <= stored.keys()
    assert set(stored.values()) == {1}
    assert waiting_rows() == []
    ((run_id,),) = server.ask(f"select run_uuid from tags where key = 'maskdepth.train' and value = '{journal.id}'")
    kept = {path.name for path in (server.folder / "artifacts").glob(f"*/{run_id}/**/*.png")}
    assert {"best.png", "curves.png"} <= kept
