"""Mirrors a training into MLflow while it runs, from a process of its own: training never waits for a store."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from maskdepth.params import Params
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import RUNNING, is_writer_alive, read_journal
from maskdepth.tracking.mirror import mirror_row
from maskdepth.tracking.outbox import LIVE_JOURNAL, outbox_dir, put_live_row
from maskdepth.tracking.runs import live_row

_LOG = "mirror.log"
_NICENESS = 10
_PAUSE_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 30.0  # while the store is away
_PASS_SECONDS = 60.0
_LAST_PASS_SECONDS = 30.0
_GRACE_SECONDS = 10.0  # for a call under way


@dataclass(frozen=True)
class MirrorProcess:
    """The process that mirrors one training."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    def finish(self, budget: float) -> str:
        """Wait until all is sent, at most so many seconds [s]; return one line about it.

        Call it after the journal's end record. What is not sent by then waits in the outbox; the process goes on.
        """
        try:
            self.process.wait(budget)
        except subprocess.TimeoutExpired:
            return "tracking: still sending in the background; what is left, `maskdepth sync` sends"
        if (outbox_dir() / self.folder.name).exists():  # which the repository may have taken elsewhere
            return "tracking: the store did not take everything; `maskdepth sync` sends the rest"
        return "tracking: all sent"


def start_mirror(journal_path: Path, params: Params) -> MirrorProcess:
    """Begin to mirror a training whose journal has been started; a resumed training goes on in the same run.

    Args:
        journal_path: The growing journal, on the same file system as the state folder.
        params: All of params.yaml.

    Returns:
        The process; call its `finish` when the journal has ended.

    Raises:
        ValueError: The address of the store is one that we refuse; see `locate_store`.
    """
    locate_store()
    folder = put_live_row(live_row(read_journal(journal_path).id, params), journal_path)
    source = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    with (folder / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "maskdepth.tracking", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,  # not DVC's pipe, which DVC would wait for
            stderr=log,
            start_new_session=True,  # an interrupt is for the training, which then writes its last records
            env=os.environ | {"PYTHONPATH": paths},
        )
    return MirrorProcess(folder, process)


def follow(folder: Path) -> None:
    """Mirror a live row until its training has ended and all is sent, or the store stays away after that."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    pause = _PAUSE_SECONDS
    while folder.exists():
        goes_on = _goes_on(folder)
        seconds = _PASS_SECONDS if goes_on else _LAST_PASS_SECONDS
        watchdog = threading.Timer(seconds + _GRACE_SECONDS, _leave, [folder, goes_on])
        watchdog.start()
        sent = mirror_row(folder, seconds)
        watchdog.cancel()
        if not sent.run_id and not sent.is_complete:
            print(f"{time.strftime('%H:%M:%S')} {sent.reason}", flush=True)
            if not goes_on:
                return
        # Without a run the store is away: ask less often.
        pause = _PAUSE_SECONDS if sent.run_id else min(2 * pause, _LONGEST_PAUSE_SECONDS)
        _wait_for_end(folder, pause)


def _leave(folder: Path, goes_on: bool) -> None:
    """Leave a call that a server holds beyond any limit, with the process: a fresh one takes its place, or none."""
    print(f"{time.strftime('%H:%M:%S')} the tracking store held a call beyond its time", flush=True)
    if goes_on:
        os.execv(sys.executable, [sys.executable, "-m", "maskdepth.tracking", str(folder)])
    os._exit(1)


def _wait_for_end(folder: Path, seconds: float) -> None:
    """Sleep so long [s], or until the training ends."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and _goes_on(folder):
        time.sleep(0.2)


def _goes_on(folder: Path) -> bool:
    try:
        journal = read_journal(folder / LIVE_JOURNAL)
    except FileNotFoundError:  # another process has sent the row
        return False
    return journal.status == RUNNING and is_writer_alive(journal)
