"""Let one system call of a stage fail, or kill it there: is it told in one line, and is all well the next time?

    python tests/faults/failing_calls.py --calls 200 --seed 1

One traced run of each stage lists the calls that change a file below the workspace. Each trial lets one of them fail
for lack of space or as of a broken disk, or kills the process right before it, and then runs the stage undisturbed.
Which call is drawn at random: first its name and file, then which of those calls, so that a file of a thousand writes
counts as much as one of a single write. Needs strace, and the right to trace.

Prints a table and, as its last line, the same in JSON; the exit code is 1 if anything was wrong.
"""

import argparse
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT), str(ROOT / "src")]

from faults.kill_stages import STAGES, comparable, is_unfinished, is_whole, print_tallies, written_files  # noqa: E402
from support.settings import write_places  # noqa: E402
from support.toy import write_toy_archive  # noqa: E402
from support.trained import start_stage, write_small_params  # noqa: E402

# How each call may go wrong; the last one is a process that dies right before it.
FAULTS = {
    "write": ("error=ENOSPC", "error=EIO", "signal=SIGKILL"),
    "pwrite64": ("error=ENOSPC", "error=EIO", "signal=SIGKILL"),
    "fsync": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "rename": ("error=ENOSPC", "error=EIO", "signal=SIGKILL"),
    "renameat2": ("error=ENOSPC", "error=EIO", "signal=SIGKILL"),
    "openat": ("error=ENOSPC", "error=EIO", "signal=SIGKILL"),
    "unlink": ("error=EIO", "signal=SIGKILL"),
    "unlinkat": ("error=EIO", "signal=SIGKILL"),
}
# Each stage's share: those that run for seconds get fewer.
SHARES = {"unzip": 4, "index": 4, "stats": 4, "split": 3, "train": 2, "evaluate": 2, "report": 1}
# These have other names in each run (numbers of runs and processes, digests of durations, files without a name), so a
# call is chosen by how many of its kind a thread has made; only calls of which a stage makes none elsewhere.
CHANGING_NAME = re.compile(r"[0-9a-f]{32}|[/.]#?\d+\b|\(deleted\)")
BY_COUNT = {"fsync", "fdatasync", "rename", "renameat2", "unlink", "unlinkat"}
TRIAL_SECONDS = 300


@dataclass(frozen=True)
class Call:
    """A call to disturb: its name, its file (None: whichever), and which of these calls of a thread, from 1."""

    name: str
    path: str | None
    number: int


@dataclass
class Tally:
    """What became of the trials of one stage.

    Attributes:
        tried: Calls that failed, or at which a process was killed.
        not_met: Trials in which the call did not come, as another thread was faster; nothing was tried.
        told: Stages that said what failed in one line.
        succeeded: Stages that did all they had to do, nevertheless.
        killed: Stages that were killed.
        traceback: Stages that ended in a traceback, or said nothing.
        half_written: Trials after which a file in its place was neither the old nor the new one.
        not_identical: Trials after which the next run failed, or ended in something else than without them.
        wrong: What was wrong, in words.
    """

    tried: int = 0
    not_met: int = 0
    told: int = 0
    succeeded: int = 0
    killed: int = 0
    traceback: int = 0
    half_written: int = 0
    not_identical: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """A stage that nobody disturbed: the workspace before it, its outputs in comparable form, its calls."""

    before: Path
    outputs: dict[str, Any]
    calls: dict[tuple[str, str | None], int]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, what it said on stderr, and what strace wrote."""

    code: int
    stderr: str
    trace: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    options = parser.parse_args()
    if reason := why_not():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    chance = random.Random(options.seed)
    began = time.monotonic()
    tallies = {}
    with tempfile.TemporaryDirectory(prefix="maskdepth-failing-") as folder:
        # One path for all trials: calls are found again by the names of their files.
        workspace = Path(folder) / "workspace"
        draw_repository(workspace)
        counts = share_out(options.calls, options.stages)
        for stage in STAGES[: 1 + max(map(STAGES.index, options.stages))]:
            reference = run_reference(stage, workspace)
            if stage in counts:
                tallies[stage] = Tally()
                after = workspace.rename(workspace.with_name("after"))
                for call, fault in choose(reference.calls, counts[stage], chance):
                    disturb(stage, call, fault, workspace, reference, tallies[stage])
                after.rename(workspace)
            shutil.rmtree(reference.before)
    print_tallies("failing_calls", tallies, {"seed": options.seed, "seconds": time.monotonic() - began})
    return int(any(tally.wrong for tally in tallies.values()))


def why_not() -> str | None:
    """Say why calls cannot be made to fail here; None if they can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    command = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=rename:error=EIO:when=1", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"strace may not trace: {tried.stderr.strip()}" if tried.returncode else None


def draw_repository(workspace: Path) -> None:
    """Draw the toy data set of the tests, in which no stage has run yet."""
    (workspace / ".dvc").mkdir(parents=True)
    write_toy_archive(workspace / "data" / "raw", backgrounds=range(1, 13))
    write_small_params(workspace, epochs=1)
    write_places(workspace)


def share_out(calls: int, stages: list[str]) -> dict[str, int]:
    whole = sum(SHARES[stage] for stage in stages)
    return {stage: max(1, round(calls * SHARES[stage] / whole)) for stage in stages}


def run_reference(stage: str, workspace: Path) -> Reference:
    """Run a stage undisturbed and list its calls."""
    before = Path(shutil.copytree(workspace, workspace.with_name(f"before-{stage}")))
    ended = run_traced(workspace, stage, ["-y", "-e", f"trace={','.join(FAULTS)}"])
    assert ended.code == 0, ended.stderr
    return Reference(before, comparable(workspace, stage), count_calls(ended.trace, workspace))


def run_traced(workspace: Path, stage: str, options: list[str]) -> Ended:
    """Run a stage below strace, which waits for every process of it, also for one that sends in the background."""
    log = workspace.with_name("trace.txt")
    # Only the calls in question stop a process with this, but then strace (6.1) kills none.
    quick = [] if any("SIGKILL" in word for word in options) else ["--seccomp-bpf"]
    command = ["strace", "-f", *quick, "-q", "-s", "0", "-o", str(log), *options]
    process = start_stage(workspace, stage, before=f'set -- {shlex.join(command)} "$@"')
    _, stderr = process.communicate(timeout=TRIAL_SECONDS)
    return Ended(process.returncode, stderr, log.read_text(errors="replace"))


def count_calls(trace: str, workspace: Path) -> dict[tuple[str, str | None], int]:
    """Count the calls that change something below the workspace, by name and file; of one thread, as strace counts."""
    met: Counter[tuple[str, str, str | None]] = Counter()
    highest: dict[tuple[str, str | None], int] = {}
    for thread, name, arguments in re.findall(r"^(\d+) +(\w+)\((.*)", trace, re.MULTILINE):
        path = path_of(name, arguments, workspace)
        if path is None and name not in BY_COUNT:
            continue
        met[thread, name, path] += 1
        reads = name == "openat" and not re.search("O_WRONLY|O_RDWR|O_CREAT", arguments)
        if not reads and str(workspace) in arguments:
            highest[name, path] = max(highest.get((name, path), 0), met[thread, name, path])
    return highest


def path_of(name: str, arguments: str, workspace: Path) -> str | None:
    """Give the file of a call, if it lies below the workspace and has the same name in every run."""
    by_name = name in ("openat", "rename", "renameat2", "unlink")
    found = re.search(r'"([^"]+)"' if by_name else r"^\d+<([^>]+)>", arguments)
    if not found or name == "unlinkat":
        return None
    path = str(workspace / found[1])
    return path if path.startswith(str(workspace)) and not CHANGING_NAME.search(path + found[0]) else None


def choose(calls: dict[tuple[str, str | None], int], count: int, chance: random.Random) -> Iterator[tuple[Call, str]]:
    groups = sorted(calls, key=str)
    # All of them once before any a second time.
    order = [group for _ in range(-(-count // len(groups))) for group in chance.sample(groups, len(groups))]
    for name, path in order[:count]:
        yield Call(name, path, chance.randint(1, calls[name, path])), chance.choice(FAULTS[name])


def disturb(stage: str, call: Call, fault: str, workspace: Path, reference: Reference, tally: Tally) -> None:
    """Let one call of a stage go wrong, then run it again; add what came of both to the tally."""
    shutil.copytree(reference.before, workspace)
    # A file is named as the code names it, from the workspace or from the root.
    paths = [call.path, str(Path(call.path).relative_to(workspace))] if call.path else []
    chosen = [word for path in paths for word in ("-P", path)]
    inject = ["-e", f"trace={call.name}", "-e", f"inject={call.name}:{fault}:when={call.number}"]
    what = f"{stage}: {call.name} {paths[-1] if paths else ''} #{call.number} {fault}"
    ended = run_traced(workspace, stage, ["-y", *chosen, *inject])
    if "INJECTED" in ended.trace or "SIGKILL" in ended.trace:
        tally.tried += 1
        judge_end(what, ended, tally)
        judge_files(what, stage, ended, workspace, reference, tally)
        judge_next(what, stage, workspace, reference, tally)
    else:
        tally.not_met += 1
    shutil.rmtree(workspace)


def judge_end(what: str, ended: Ended, tally: Tally) -> None:
    lines = ended.stderr.splitlines()
    told = sum(line.startswith("error: ") for line in lines)
    if "Traceback" in ended.stderr or (ended.code == 1):
        tally.traceback += 1
        complain(tally, f"{what}: exit code {ended.code}: {lines[-1] if lines else 'nothing said'}", ended.stderr)
    elif ended.code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        tally.killed += 1
    elif ended.code == 0:
        tally.succeeded += 1
    elif told == 1:
        tally.told += 1
    else:
        tally.traceback += 1
        complain(tally, f"{what}: exit code {ended.code}, told in {told} lines", ended.stderr)


def judge_files(what: str, stage: str, ended: Ended, workspace: Path, reference: Reference, tally: Tally) -> None:
    """Add to the tally whether every file is as before the run or as of an undisturbed one; all new after a success."""
    if stage == "report":
        return  # its result is in the store, which is looked at after the next run
    found = {str(path.relative_to(workspace)): path for path in written_files(workspace, stage)}
    wrong = [
        name
        for name, path in found.items()
        if not (name in reference.outputs and is_whole(path, reference.outputs[name]))
        and not is_same(path, reference.before / name)
    ]
    if ended.code == 0:
        wrong += [f"{name} is missing after a success" for name in reference.outputs if name not in found]
    if wrong:
        tally.half_written += 1
        complain(tally, f"{what}: neither old nor new: {wrong}", ended.stderr)


def is_same(path: Path, other: Path) -> bool:
    return other.is_file() and path.read_bytes() == other.read_bytes()


def judge_next(what: str, stage: str, workspace: Path, reference: Reference, tally: Tally) -> None:
    """Add to the tally whether the next run ends as if nothing had failed before."""
    ended = run_traced(workspace, stage, ["-e", "trace=rename"])
    reasons = []
    if ended.code:
        reasons.append(f"the next run ended with {ended.code}")
    else:
        found = comparable(workspace, stage)
        names = reference.outputs.keys() | found.keys()
        reasons += [f"{name} differs" for name in sorted(names) if found.get(name) != reference.outputs.get(name)]
        left = filter(is_unfinished, workspace.rglob("*"))
        reasons += [f"{path.relative_to(workspace)} is left" for path in left]
    if reasons:
        tally.not_identical += 1
        complain(tally, f"{what}: {'; '.join(reasons)}", ended.stderr)


def complain(tally: Tally, text: str, stderr: str) -> None:
    tally.wrong.append(text)
    print(f"{text}\n{stderr}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
