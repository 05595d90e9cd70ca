"""A journal says exactly what was written into it, whatever a kill or the disk did to its end."""

import signal
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

import maskdepth.tracking.journal
from maskdepth.tracking.journal import Artifact, Journal, describe_process, is_writer_alive, open_journal, read_journal

SOURCE = Path(maskdepth.tracking.journal.__file__).parents[2]


def write_whole(path):
    with open_journal(path, "train") as journal:
        journal.params({"loss": {"mask": "bce"}, "train": {"epochs": 2}})
        journal.metrics({"val/loss": 0.5, "val/mask_iou": 0.25}, step=1)
        journal.metrics({"val/loss": 0.25}, step=2)
        journal.artifact(path.parent / "curves.png", "pictures")
        journal.tag("device", "cpu")
    return read_journal(path)


def numbers(contents):
    return [(point.name, point.value, point.step) for point in contents.points]


def test_what_is_written_is_read(tmp_path):
    read = write_whole(tmp_path / "new" / "train.jsonl")
    assert (read.stage, read.status, read.damaged) == ("train", "FINISHED", 0)
    assert read.params == {"loss.mask": "bce", "train.epochs": "2"}
    assert numbers(read) == [("val/loss", 0.5, 1), ("val/mask_iou", 0.25, 1), ("val/loss", 0.25, 2)]
    assert read.artifacts == (Artifact(str(tmp_path / "new" / "curves.png"), "pictures"),)
    assert read.tags == {"device": "cpu"}
    assert read.started <= read.points[0].time <= read.points[-1].time <= read.ended


def test_a_journal_cut_anywhere_keeps_every_whole_record(tmp_path):
    whole = write_whole(tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"
    lines = 0
    for length in range(data.index(b"\n", 2), len(data)):
        cut.write_bytes(data[:length])
        read = read_journal(cut)
        assert whole.points[: len(read.points)] == read.points
        assert read.damaged <= 1
        lines = max(lines, len(read.points))
    assert lines == 3


def test_a_changed_byte_is_noticed_and_changes_no_other_record(tmp_path):
    write_whole(tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    start = data.index(b'"val/loss": 0.5') - 40  # within the first metrics record
    for position in range(start, start + 60):
        damaged = bytearray(data)
        damaged[position] ^= 1
        (tmp_path / "damaged.jsonl").write_bytes(damaged)
        read = read_journal(tmp_path / "damaged.jsonl")
        assert read.damaged >= 1
        assert ("val/loss", 0.25, 2) in numbers(read)
        assert read.status == "FINISHED"


def test_a_session_after_a_torn_line_loses_nothing_and_keeps_the_id(tmp_path):
    path = tmp_path / "train.jsonl"
    journal = Journal(path)
    first = journal.start("train")
    journal.metrics({"loss": 1.0}, step=1)
    with path.open("a") as file:
        file.write('0123abcd {"kind": "metr')
    assert Journal(path).start("train") == first
    journal.metrics({"loss": 0.5}, step=2)
    read = read_journal(path)
    assert (read.id, read.damaged, numbers(read)) == (first, 1, [("loss", 1.0, 1), ("loss", 0.5, 2)])


def test_a_session_that_goes_on_after_a_kill_is_running(tmp_path):
    path = tmp_path / "train.jsonl"
    Journal(path).start("train")
    Journal(path).end("KILLED")
    assert (read_journal(path).status, read_journal(path).ended is None) == ("KILLED", False)
    Journal(path).start("train")
    assert (read_journal(path).status, read_journal(path).ended) == ("RUNNING", None)


def test_an_epoch_done_again_keeps_its_first_record(tmp_path):
    journal = Journal(tmp_path / "train.jsonl")
    journal.start("train")
    for value in (1.0, 2.0):
        journal.metrics({"loss": value}, step=1)
    assert numbers(read_journal(journal.path)) == [("loss", 1.0, 1)]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_block_that_raises_ends_its_journal(tmp_path, error, status):
    with pytest.raises(error), open_journal(tmp_path / "index.jsonl", "index"):
        raise error
    assert read_journal(tmp_path / "index.jsonl").status == status


def test_a_new_run_of_a_stage_has_a_new_journal_also_over_a_protected_one(tmp_path):
    path = tmp_path / "index.jsonl"
    before = write_whole(path)
    path.chmod(0o444)
    with open_journal(path, "index"):
        pass
    after = read_journal(path)
    assert after.id != before.id
    assert after.points == ()


def test_a_writer_is_alive_until_its_process_ends(tmp_path):
    path = tmp_path / "train.jsonl"
    code = "from maskdepth.tracking.journal import Journal; from pathlib import Path"
    code += f"; Journal(Path({str(path)!r})).start('train'); print(1, flush=True); input()"
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stdin=-1, cwd=SOURCE)
    with writer:
        writer.stdout.readline()
        assert is_writer_alive(read_journal(path))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert not is_writer_alive(read_journal(path))


def test_a_writer_on_another_host_is_alive_until_a_day_after_its_last_record(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "train.jsonl")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "a-container")
        journal.start("train")
    began = time.time_ns()
    hour = 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: began + 20 * hour)
    journal.metrics({"loss": 1.0}, step=1)
    for hours, is_alive in ((43, True), (45, False)):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: began + hours * hour)
        assert is_writer_alive(read_journal(journal.path)) == is_alive


def test_a_process_number_used_again_is_another_process(tmp_path):
    Journal(tmp_path / "train.jsonl").start("train")
    read = read_journal(tmp_path / "train.jsonl")
    number, start, boot = read.process.split()
    assert is_writer_alive(read)
    assert describe_process(int(number)) != f"{number} {int(start) - 1} {boot}"


def write_line(path, text):
    """Append a line with the right checksum, whatever it says."""
    with path.open("ab") as file:
        file.write(b"%08x %s\n" % (zlib.crc32(text), text))


TIME = b'"time": 1700000000000'
HOSTILE = [
    b"[" * 100_000,
    b"{}",
    b"[]",
    b"null",
    b'{"kind": "start"}',
    b'{"kind": "other", ' + TIME + b"}",
    b'{"kind": ["start"], ' + TIME + b"}",
    b'{"kind": "start", "id": "../../x", "stage": "s", "host": "h", "process": "1", ' + TIME + b"}",
    b'{"kind": "start", "id": "%s", "stage": "s", "host": "h", "process": "x", ' % (b"a" * 32) + TIME + b"}",
    b'{"kind": "start", "id": "%s", "stage": "s", "host": "h", "process": "%s", ' % (b"a" * 32, b"9" * 40)
    + TIME
    + b"}",
    b'{"kind": "metrics", "values": {"a": "b"}, "step": 1, ' + TIME + b"}",
    b'{"kind": "metrics", "values": {"a": 1}, ' + TIME + b"}",
    b'{"kind": "metrics", "values": [1], "step": 1, ' + TIME + b"}",
    b'{"kind": "metrics", "values": {"a": 1}, "step": 1e99, ' + TIME + b"}",
    b'{"kind": "params", "values": {"a": {}}, ' + TIME + b"}",
    b'{"kind": "artifact", "path": 3, "folder": "x", ' + TIME + b"}",
    b'{"kind": "tag", "name": "x", ' + TIME + b"}",
    b'{"kind": "end", "status": "HAPPY", ' + TIME + b"}",
    b'{"kind": "end", "status": "FINISHED", "time": 1%s}' % (b"0" * 30),
    b'{"kind": "end", "status": "FINISHED"}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_record_that_is_none_of_ours_counts_as_damaged_whatever_its_checksum(tmp_path, text):
    path = tmp_path / "train.jsonl"
    write_line(path, text)
    with pytest.raises(ValueError, match=r"no readable start record \(1 damaged lines\)"):
        read_journal(path)
    whole = write_whole(path)
    write_line(path, text)
    read = read_journal(path)
    assert (read.points, read.status, read.damaged) == (whole.points, "FINISHED", 1)
    Journal(path).start("train")
    assert read_journal(path).id == whole.id


def test_a_missing_journal_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl: no journal here; .*dvc repro"):
        read_journal(tmp_path / "train.jsonl")


def test_a_journal_without_a_start_record_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"no readable start record \(1 damaged lines\)"):
        read_journal(tmp_path / "train.jsonl")
