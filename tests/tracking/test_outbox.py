"""A row waits whole or not at all, comes back as it was put, and is found again by what it is made of."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from support.waiting import patience

import maskdepth.tracking.outbox
from maskdepth.tracking.journal import Point
from maskdepth.tracking.outbox import (
    DataVersion,
    Row,
    arrival_lock,
    outbox_dir,
    put_live_row,
    put_row,
    read_row,
    row_lock,
    waiting_rows,
)

SOURCE = Path(maskdepth.tracking.outbox.__file__).parents[2]
KEY, OTHER = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """A repository without a store."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_row(**changes) -> Row:
    values = {
        "key": KEY,
        "kind": "report",
        "experiment": "maskdepth",
        "name": "bce|l1-s0",
        "join": {"maskdepth.train": KEY},
        "claim": {"maskdepth.evaluate": OTHER},
        "tags": {"device": "cpu"},
        "params": {"loss.mask": "bce"},
        "journals": ("train.jsonl",),
        "points": (Point("test/mask_iou", 0.5, 1_700_000_000_000, 0),),
        "data": (DataVersion("index", "0" * 8, "data/index.csv", 8),),
        "links": {"index": OTHER},
        "shown": ("loss.mask",),
    }
    return Row(**(values | changes))


def wait_since(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / "row.json", (then, then))


def text(folder: Path) -> Path:
    path = folder / "some.txt"
    path.write_text("one")
    return path


def test_a_row_comes_back_as_it_was_put_with_copies_of_its_files(root):
    source = text(root)
    folder = put_row(make_row(), {"files/deep/some.txt": source, "train.jsonl": source, "files/other.txt": source})
    assert folder == root / ".dvc" / "tmp" / "maskdepth" / "outbox" / make_row().folder_name
    assert read_row(folder) == make_row()
    source.write_text("two")
    copies = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert copies == ["files/deep/some.txt", "files/other.txt", "row.json", "train.jsonl"]
    assert (folder / "files" / "deep" / "some.txt").read_text() == "one"


def test_what_a_row_need_not_say_is_nothing():
    values = make_row().__dict__
    needed = {name: values[name] for name in values if name not in ("points", "data", "links", "shown")}
    assert Row(**needed) == make_row(points=(), data=(), links={}, shown=None)


def test_text_in_any_script_comes_back(root):
    row = make_row(tags={"mlflow.user": "Žofie 小林"})
    assert read_row(put_row(row, {})) == row
    assert read_row(put_live_row(row, text(root))) == row


def test_a_row_put_again_replaces_its_older_form(root):
    put_row(make_row(), {"old.txt": text(root)})
    changed = make_row(tags={"device": "cuda"})
    folder = put_row(changed, {})
    assert read_row(folder) == changed
    assert [path.name for path in folder.iterdir()] == ["row.json"]


def test_what_a_killed_process_left_half_written_is_no_row_and_no_part_of_one(root):
    left = outbox_dir() / f".{make_row().folder_name}"
    left.mkdir()
    (left / "row.json").write_text("{")
    (left / "half.txt").write_text("half")
    assert waiting_rows() == []
    folder = put_row(make_row(), {})
    assert [path.name for path in folder.iterdir()] == ["row.json"]
    assert waiting_rows() == [folder]
    assert not left.exists()


def test_the_folder_says_kind_and_key_and_follows_what_decides_which_run_it_is():
    row = make_row(join={"b": "2", "a": "1"}, claim={})
    digest = hashlib.sha256(b'[{"a": "1", "b": "2"}, {}]').hexdigest()[:8]
    assert row.folder_name == f"report-{KEY}-{digest}"
    assert row.run_key == f"{row.folder_name}-{hashlib.sha256(json.dumps([row.params]).encode()).hexdigest()[:8]}"
    same = make_row(join={"a": "1", "b": "2"}, claim={}, tags={}, params={"c": "2"}, name="x")
    assert same.folder_name == row.folder_name
    assert same.run_key != row.run_key
    for change in ({"join": {"a": "1"}}, {"claim": {"a": "1"}}, {"key": OTHER}, {"kind": "live"}):
        assert make_row(**{"join": row.join, "claim": {}, **change}).folder_name != row.folder_name


@pytest.mark.parametrize("change", [{"key": "a"}, {"kind": "other"}, {"journals": ("../train.jsonl",)}])
def test_a_damaged_row_is_named_with_what_is_wrong_and_the_cure(change):
    folder = put_row(make_row(), {})
    (folder / "row.json").write_text(json.dumps(json.loads((folder / "row.json").read_text()) | change))
    with pytest.raises(ValueError, match="is damaged") as error:
        read_row(folder)
    told, _, cure = str(error.value).partition("; ")
    where = {"journals": "journals.0"}.get(*change, *change)
    assert told.startswith(f"{folder}/row.json is damaged ({where}: ")
    assert cure == "delete its folder and run `dvc repro -f -s report`"


def test_a_damaged_part_of_a_row_is_named_by_its_place():
    folder = put_row(make_row(), {})
    text = (folder / "row.json").read_text().replace('"value": 0.5', '"value": "x"')
    (folder / "row.json").write_text(text)
    with pytest.raises(ValueError, match=r"is damaged \(points\.0\.value: Input should be a valid number\); delete"):
        read_row(folder)


def test_rows_are_sent_in_the_order_in_which_they_refer_to_each_other_the_own_ones_first():
    rows = [make_row(kind=kind, key=key) for kind in ("report", "live", "data") for key in (OTHER, KEY)]
    for row in rows:
        put_row(row, {})
    assert [folder.name.split("-")[:2] for folder in waiting_rows()] == [
        [kind, key] for kind in ("data", "live", "report") for key in (KEY, OTHER)
    ]
    assert [folder.name.split("-")[:2] for folder in waiting_rows(own={OTHER})] == [
        [kind, key] for key in (OTHER, KEY) for kind in ("data", "live", "report")
    ]


def test_rows_of_others_are_taken_once_they_have_waited_and_own_ones_at_once():
    own, other = put_row(make_row(key=KEY), {}), put_row(make_row(key=OTHER), {})
    assert waiting_rows(own=[KEY], older=60) == [own]
    wait_since(other, 50)
    assert waiting_rows(own=[KEY], older=60) == [own]
    wait_since(other, 61)
    assert waiting_rows(own=[KEY], older=60) == [own, other]
    assert waiting_rows() == sorted([own, other])
    other.joinpath("row.json").unlink()
    assert waiting_rows() == [own]


def test_a_row_that_another_process_has_just_sent_is_not_old_enough(monkeypatch):
    folder = put_row(make_row(), {})
    glob = Path.glob

    def glob_and_send(path, pattern):
        found = list(glob(path, pattern))
        (folder / "row.json").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "glob", glob_and_send)
    assert waiting_rows() == []


def hold(path: Path) -> subprocess.Popen:
    """Hold a lock in another process until its input ends."""
    code = f"from filelock import FileLock; l = FileLock({str(path)!r}); l.acquire(); print(1, flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1)
    holder.stdout.readline()
    return holder


def test_rows_of_one_key_are_locked_together_for_so_long_as_one_waits():
    folder = put_row(make_row(), {})
    with hold(folder.with_name(f"{KEY}.lock")) as holder:
        with row_lock(folder, OTHER, 0):
            pass
        begun = time.monotonic()
        with pytest.raises(Timeout, match=KEY), row_lock(folder.with_name("another"), KEY, 0.3):
            pass
        assert 0.3 <= time.monotonic() - begun < patience(30)
        holder.communicate(b"\n")
    with row_lock(folder, KEY, 30):
        pass


def test_whoever_puts_a_row_waits_for_the_one_who_sends_it(root, monkeypatch):
    assert row_lock(root, KEY, 7).timeout == 7
    assert arrival_lock().timeout == 90  # [s] longer than a pass of the mirror
    monkeypatch.setattr(maskdepth.tracking.outbox, "_PATIENCE_SECONDS", 0.1)
    folder = put_row(make_row(), {"old.txt": text(root)})
    with hold(folder.with_name(f"{KEY}.lock")) as holder:
        with pytest.raises(Timeout, match=KEY):
            put_row(make_row(), {})
        assert (folder / "old.txt").is_file()
        put_live_row(make_row(kind="live"), text(root))  # a training does not wait for a sender
        holder.communicate(b"\n")


def test_a_live_row_waits_for_the_one_who_removes_sent_ones(root, monkeypatch):
    folder = put_live_row(make_row(kind="live"), text(root))
    (folder / "row.json").unlink()
    holder = FileLock(root / ".dvc" / "tmp" / "maskdepth" / "outbox.lock")
    with holder:
        putting = threading.Thread(target=put_live_row, args=[make_row(kind="live"), root / "some.txt"])
        putting.start()
        putting.join(0.2)
        assert not (folder / "row.json").exists()
    putting.join()
    assert read_row(folder) == make_row(kind="live")


def test_the_journal_of_a_live_row_is_the_one_that_is_written_whichever_that_is(root):
    row = make_row(kind="live")
    journal = text(root)
    folder = put_live_row(row, journal)
    assert folder == outbox_dir() / row.folder_name
    assert read_row(folder) == row
    with journal.open("a") as file:
        file.write(" and more")
    assert (folder / "train.jsonl").read_text() == "one and more"
    journal.unlink()
    again = root / "again.jsonl"
    again.write_text("again")
    changed = make_row(kind="live", tags={})
    assert put_live_row(changed, again) == folder
    assert (folder / "train.jsonl").read_text() == "again"
    assert read_row(folder) == changed
    assert sorted(path.name for path in folder.iterdir()) == ["row.json", "train.jsonl"]


def test_runs_that_are_stored_already_are_found_again_by_these_names():
    names = {name: getattr(maskdepth.tracking.outbox, name) for name in ("FILES", "MODEL", "LIVE_JOURNAL", "ROW_FILE")}
    assert names == {
        "FILES": "files",
        "MODEL": "model.safetensors",
        "LIVE_JOURNAL": "train.jsonl",
        "ROW_FILE": "row.json",
    }
    tags = ("JOURNAL_TAG", "EXPERIMENT_TAG", "TRAIN_TAG", "EVALUATE_TAG")
    assert [getattr(maskdepth.tracking.outbox, tag) for tag in tags] == [
        "maskdepth.journal",
        "dvc.exp.name",
        "maskdepth.train",
        "maskdepth.evaluate",
    ]


def test_the_outbox_is_made_when_missing(root):
    assert outbox_dir() == outbox_dir() == root / ".dvc" / "tmp" / "maskdepth" / "outbox"
    assert outbox_dir().is_dir()


def test_rows_that_come_and_go_while_they_are_listed_are_no_trouble():
    row = outbox_dir() / "data-x-y"
    ended = threading.Event()

    def come_and_go():
        while not ended.is_set():
            row.mkdir()
            (row / "row.json").touch()
            (row / "row.json").unlink()
            row.rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        listed = [len(waiting_rows(older=9)) + len(waiting_rows()) for _ in range(5000)]
    finally:
        ended.set()
        other.join()
    assert set(listed) <= {0, 1}
