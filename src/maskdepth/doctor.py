"""What is wrong with this repository, in words, each with its cure; nothing is changed.

What loads torch is imported where it is needed: a sweep checks what was typed before that.
"""

import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from maskdepth.data.arrays.arrays import CARD_FILE, UNREAD_ADVICE, read_card
from maskdepth.device import choose_device, set_threads, why_no_cuda
from maskdepth.params import load_params
from maskdepth.process.console import progress
from maskdepth.process.files import digest_file, parse_json
from maskdepth.process.git import ask_git
from maskdepth.process.launch import wanted_ranks
from maskdepth.process.workers import usable_cores
from maskdepth.process.workspace import repository_root, state_dir
from maskdepth.tracking.repair import check_store
from maskdepth.tracking.sending import ask_store

_STORE_SECONDS = 60.0
_LIBRARIES = ("dvc", "mlflow", "torch", "torchvision", "kornia", "pandas")


def describe_machine() -> list[str]:
    """Say what computes here, and with which versions."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    reason = why_no_cuda()
    return [
        f"Python {platform.python_version()} on {platform.platform()}",
        libraries,
        f"device {choose_device()}, {set_threads()} threads" + (f"; no CUDA: {reason}" if reason else ""),
        f"for two trainings at a time, as of dvc queue start -j 2: MASKDEPTH_THREADS={max(1, usable_cores() // 2)}",
    ]


def examine() -> list[str]:
    """Look for what would go wrong later; return one line with the cure for each, none when all is well.

    Raises:
        FileNotFoundError: The current folder is in no DVC repository.
    """
    from maskdepth.training.states import list_abandoned_states

    root = repository_root()
    trainings = list_abandoned_states(state_dir() / "train")
    found = [
        *check_settings(root),
        *check_data(root),
        *check_arrays(root),
        *check_git(root),
        *check_dvc(root),
        *check_cache(root),
    ]
    return [*found, *trainings, *ask_store(_STORE_SECONDS, check_store)]


def check_settings(root: Path) -> list[str]:
    """Check params.yaml, and that there is the network and the loss it names: training would only say so itself."""
    from maskdepth.losses.catalogue import build_criterion
    from maskdepth.models.catalogue import check_image_size, resolve_inputs
    from maskdepth.training.ranks import check_shares

    try:
        params = load_params(root / "params.yaml")
        resolve_inputs(params.model)
        check_image_size(params.model.name, params.data.image_size)
        build_criterion(params.loss)
        check_shares(wanted_ranks(), params.train)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    return []


def check_data(root: Path) -> list[str]:
    """Check that there is raw data, and that DVC will bring it into the workspaces of queued experiments."""
    raw = root / "data" / "raw"
    if not raw.is_dir() or not any(raw.iterdir()):
        return [f"{raw} is empty: put your archives there, or draw the sample data with `maskdepth sample data/raw`"]
    if not raw.with_name("raw.dvc").is_file():
        return [f"{raw} is not tracked, so queued experiments will not see it: `dvc add data/raw`"]
    if not ask_git("ls-files", "data/raw.dvc", folder=root):
        return ["data/raw.dvc is not in git, so queued experiments will not see the data: `git add data/raw.dvc`"]
    return []


def check_arrays(root: Path) -> list[str]:
    """Check that every file of every archive could be read when it was decoded."""
    found = []
    for path in sorted((root / "data" / "arrays").glob(f"[!.]*/{CARD_FILE}")):
        try:
            card = read_card(path.parent)
        except ValueError as error:
            found.append(str(error))
            continue
        if card.get("unread"):
            found.append(f"{card['archive']}: {card['unread']:,} files {UNREAD_ADVICE}")
    return found


def check_git(root: Path) -> list[str]:
    """Check that experiments have a commit and a branch to start from."""
    if not ask_git("rev-parse", "--verify", "--quiet", "HEAD", folder=root):
        return ["there is no commit to start experiments from: `git add -A && git commit`"]
    if not ask_git("symbolic-ref", "--quiet", "HEAD", folder=root):
        return ["HEAD is detached, as a killed `dvc exp run` leaves it: `git switch` to your branch"]
    return []


def check_dvc(root: Path) -> list[str]:
    """Check what killed DVC processes leave behind, and that data is linked and not copied."""
    findings = []
    merged = root / "dvc.lock"
    if merged.is_file() and re.search(r"^<{7} ", merged.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        findings.append(
            f"{merged} holds the two sides of a merge, every dvc command will fail: take one of them with "
            "`git checkout --ours dvc.lock` or `git checkout --theirs dvc.lock`, then `dvc repro`, `git add dvc.lock`"
        )
    findings += _check_rwlock(root / ".dvc" / "tmp" / "rwlock")
    left = [path for path in (root / ".dvc" / "tmp" / "exps").glob("tmp*") if path.is_dir()]
    if left:
        findings.append(
            f"{len(left)} workspaces of experiments in {left[0].parent}: of running ones, or left by killed ones; "
            "`dvc queue status` tells, and what is in no queue can be deleted"
        )
    findings += _check_queue(root)
    if _ask_dvc(root, "config", "cache.type") in ("", "copy"):
        findings.append("DVC copies data between cache and workspace: `dvc config cache.type hardlink,symlink,copy`")
    return findings


def check_cache(root: Path) -> list[str]:
    """Check that every file in DVC's cache has the MD5 that is its name; DVC takes read-only ones for whole."""
    names = re.compile(r"[0-9a-f]{30}(\.dir)?")
    cache = Path(_ask_dvc(root, "cache", "dir") or root / ".dvc" / "cache")
    files = [path for path in (cache / "files" / "md5").glob("??/*") if names.fullmatch(path.name)]
    return [
        f"{path} is damaged: delete it, then `dvc repro --force` the stage that wrote it, or copy raw data again"
        for path in progress(files, "look at the cache")
        if digest_file(path, "md5") != path.parent.name + path.name[:30]
    ]


def _ask_dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def _check_queue(root: Path) -> list[str]:
    """Check that somebody runs what waits in DVC's queue: a worker dies in silence when two read one message."""
    logs = root / ".dvc" / "tmp" / "exps" / "celery"
    if not logs.is_dir():
        return []
    status = _ask_dvc(root, "queue", "status")
    waiting = len(re.findall(r"\bQueued\s*$", status, re.MULTILINE))
    running = len(re.findall(r"\bRunning\s*$", status, re.MULTILINE))
    died = [path.name for path in logs.glob("*.out") if "JSONDecodeError" in path.read_text(errors="replace")]
    race = f"; one died of a race in DVC itself (JSONDecodeError in {logs / died[0]})" if died else ""
    is_empty = "0 active, 0 idle" in status
    findings = []
    if waiting and (is_empty or died):
        who = "no worker" if is_empty else "fewer workers than were started"
        findings.append(f"{waiting} experiments wait in DVC's queue for {who}{race}: `dvc queue start`")
    if running and is_empty:
        findings.append(
            f"{running} experiments count as running and no worker is there{race}: end a stage of theirs that goes on "
            "with `kill`, `dvc queue remove` them, and queue them again; a training goes on where it was"
        )
    return findings


def _check_rwlock(path: Path) -> list[str]:
    """Check who holds DVC's lock: of a number that is used again for another process DVC waits for the end."""
    if not path.is_file():
        return []
    try:
        held = parse_json(path.read_text(encoding="utf-8"))
        writers, readers = held.get("write", {}).values(), held.get("read", {}).values()
        numbers = {int(holder["pid"]) for holder in [*writers, *(one for several in readers for one in several)]}
    except (ValueError, AttributeError, TypeError, KeyError):
        return [f"{path} is damaged, every dvc command will fail: delete it while no dvc command runs"]
    return [
        f"{path} names process {number}, which is no dvc command, and dvc will say that it is busy: delete it while no "
        "dvc command runs"
        for number in sorted(numbers)
        if _is_foreign(number)
    ]


def _is_foreign(number: int) -> bool:
    """Tell whether a process is there and no dvc command; those that are gone DVC itself takes from its lock."""
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return not any("dvc" in Path(word).parts for word in words)
