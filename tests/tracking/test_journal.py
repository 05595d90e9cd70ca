"""A journal says exactly what was written into it, whatever a kill or the disk did to its end."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

import maskdepth.tracking.journal
from maskdepth.tracking.journal import (
    Artifact,
    Journal,
    describe_process,
    is_elsewhere,
    is_writer_alive,
    open_journal,
    read_journal,
    silent_until,
)

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
    read = write_whole(tmp_path / "new" / "deep" / "train.jsonl")
    assert (read.stage, read.status, read.damaged) == ("train", "FINISHED", 0)
    assert read.params == {"loss.mask": "bce", "train.epochs": "2"}
    assert numbers(read) == [("val/loss", 0.5, 1), ("val/mask_iou", 0.25, 1), ("val/loss", 0.25, 2)]
    assert read.artifacts == (Artifact(str(tmp_path / "new" / "deep" / "curves.png"), "pictures"),)
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


def test_the_day_after_its_last_record_ends_on_the_millisecond(tmp_path, monkeypatch):
    path = tmp_path / "train.jsonl"
    write_line(path, start_line(host="a-container", time=1_700_000_000_000))
    until = silent_until(read_journal(path))
    for now, is_alive in ((until - 1, True), (until, False)):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now * 10**6)
        assert is_writer_alive(read_journal(path)) == is_alive


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
    b'{"kind": "metrics", "values": {"a": "1"}, "step": 1, ' + TIME + b"}",
    b'{"kind": "metrics", "values": {"a": 1}, "step": "1", ' + TIME + b"}",
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


def start_line(**changes) -> bytes:
    values = {"kind": "start", "id": "a" * 32, "stage": "s", "host": "h", "process": "1", "time": 0}
    return json.dumps(values | changes).encode()


@pytest.mark.parametrize(
    "line",
    [
        start_line(time=10**13 - 1),
        start_line(id="0123456789abcdef" * 2),
        start_line(process="9" * 9),
        start_line(process="123456789 12 boot"),
    ],
)
def test_a_start_record_at_the_limits_is_read(tmp_path, line):
    write_line(tmp_path / "train.jsonl", line)
    read = read_journal(tmp_path / "train.jsonl")
    found = {"id": read.id, "stage": read.stage, "host": read.host, "process": read.process, "time": read.started}
    assert json.loads(line) == {"kind": "start", **found}


@pytest.mark.parametrize(
    "line",
    [
        start_line(time=-1),
        start_line(time=10**13),
        start_line(id="a" * 31),
        start_line(id="a" * 33),
        start_line(id="A" * 32),
        start_line(id="g" * 32),
        start_line(process=""),
        start_line(process="1" * 10),
        start_line(process="1x"),
        start_line(process="x 1"),
    ],
)
def test_a_start_record_beyond_the_limits_is_damaged(tmp_path, line):
    write_line(tmp_path / "train.jsonl", line)
    with pytest.raises(ValueError, match="no readable start record"):
        read_journal(tmp_path / "train.jsonl")


def test_steps_are_those_that_a_database_holds(tmp_path):
    path = tmp_path / "train.jsonl"
    write_line(path, start_line())
    for step in (-(2**63) - 1, -(2**63), 2**63 - 1, 2**63):
        write_line(path, json.dumps({"kind": "metrics", "values": {"a": 1}, "step": step, "time": 0}).encode())
    read = read_journal(path)
    assert [point.step for point in read.points] == [-(2**63), 2**63 - 1]
    assert read.damaged == 2


def test_a_line_is_the_checksum_and_the_record(tmp_path):
    journal = Journal(tmp_path / "train.jsonl")
    journal_id = journal.start("train")
    before = time.time_ns() // 10**6
    journal.params({"a": {"b": "ü"}})
    journal.metrics({"x": 1})
    journal.metrics({"x": 2}, 7)
    journal.artifact(Path("a") / "b.png", "pictures")
    journal.tag("name", "value")
    journal.end("FINISHED")
    after = time.time_ns() // 10**6
    data = journal.path.read_bytes()
    assert data.isascii()
    first, *lines, last = data.split(b"\n")
    assert (first, last) == (b"", b"")
    records = []
    for line in lines:
        assert line[:9] == b"%08x " % zlib.crc32(line[9:])
        records.append(json.loads(line[9:]))
    times = [record.pop("time") for record in records]
    assert times == sorted(times)
    assert before <= times[1] <= times[-1] <= after
    process = describe_process(os.getpid())
    assert records == [
        {"kind": "start", "id": journal_id, "stage": "train", "host": socket.gethostname(), "process": process},
        {"kind": "params", "values": {"a.b": "ü"}},
        {"kind": "metrics", "values": {"x": 1.0}, "step": 0},
        {"kind": "metrics", "values": {"x": 2.0}, "step": 7},
        {"kind": "artifact", "path": "a/b.png", "folder": "pictures"},
        {"kind": "tag", "name": "name", "value": "value"},
        {"kind": "end", "status": "FINISHED"},
    ]
    assert re.fullmatch("[0-9a-f]{32}", journal_id)


def test_what_several_sessions_say_is_merged(tmp_path, monkeypatch):
    path = tmp_path / "train.jsonl"
    for hour, host in ((1, "first"), (2, "second")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        monkeypatch.setattr(time, "time_ns", lambda hour=hour: hour * 3600 * 10**9)
        journal = Journal(path)
        journal.start(f"stage-{host}")
        journal.params({"same": host, host: 1})
        journal.tag("same", host)
        for name in ("b", "a", "b"):
            journal.artifact(Path(name), "tables")
        monkeypatch.setattr(time, "time_ns", lambda hour=hour: hour * 3600 * 10**9 + 10**9)
        journal.end("KILLED")
        monkeypatch.setattr(time, "time_ns", lambda hour=hour: hour * 3600 * 10**9 + 2 * 10**9)
        journal.tag("after the end", host)
    read = read_journal(path)
    assert (read.stage, read.host, read.process) == ("stage-first", "second", describe_process(os.getpid()))
    assert (read.started, read.ended, read.written) == (3_600_000, 7_201_000, 7_202_000)
    assert read.params == {"same": "second", "first": "1", "second": "1"}
    assert read.tags == {"same": "second", "after the end": "second"}
    assert read.artifacts == (Artifact("b", "tables"), Artifact("a", "tables"))
    assert silent_until(read) == 7_202_000 + 24 * 3_600_000
    assert not is_elsewhere(read)
    monkeypatch.setattr(socket, "gethostname", lambda: "first")
    assert is_elsewhere(read)


def test_only_an_end_is_an_end(tmp_path):
    with pytest.raises(AssertionError, match="RUNNING"):
        Journal(tmp_path / "train.jsonl").end("RUNNING")
    assert not (tmp_path / "train.jsonl").exists()


def test_a_record_is_on_the_disk_when_the_call_returns(tmp_path, monkeypatch):
    path = tmp_path / "train.jsonl"
    synced, fsync = [], os.fsync

    def note(handle):
        synced.append((Path(f"/proc/self/fd/{handle}").readlink(), path.read_bytes().count(b"\n")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    journal = Journal(path)
    journal.start("train")
    journal.tag("a", "b")
    assert synced == [(path, 2), (path, 3)]


def test_a_failed_write_names_the_journal(tmp_path):
    journal = Journal(tmp_path / "train.jsonl")
    journal.start("train")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            journal.tag("long", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.filename == str(journal.path)


def test_a_process_is_named_by_number_start_and_boot():
    stat = Path(f"/proc/{os.getpid()}/stat").read_text()
    started = stat[stat.rindex(")") :].split()[20]  # field 22, see proc(5)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert describe_process(os.getpid()) == f"{os.getpid()} {started} {boot}"


def test_a_process_that_has_ended_is_gone_also_while_its_parent_has_not_looked():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert describe_process(ended.pid) == f"{ended.pid} gone"
    ended.wait()
    assert describe_process(ended.pid) == f"{ended.pid} gone"


def test_the_process_of_another_user_is_there(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    named = describe_process(os.getpid())
    monkeypatch.setattr(os, "kill", refuse)
    assert describe_process(os.getpid()) == named


def test_a_process_whose_name_holds_blanks_and_brackets_is_named_alike(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        named = describe_process(process.pid)
        process.kill()
    assert "(a) R 1 (b)" in stat
    assert named.split()[:2] == [str(process.pid), stat[stat.rindex(")") :].split()[20]]


def test_a_missing_journal_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl: no journal here; .*dvc repro"):
        read_journal(tmp_path / "train.jsonl")


def test_a_journal_without_a_start_record_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"no readable start record \(1 damaged lines\)"):
        read_journal(tmp_path / "train.jsonl")
