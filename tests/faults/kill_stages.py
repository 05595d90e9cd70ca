"""Kill every stage at random instants and run it again: is the result that of a run which nobody disturbed?

    python tests/faults/kill_stages.py --kills 200 --seed 0

Each trial is a fork of this process, which has loaded all libraries, so that its time goes into the stage itself. Half
of the kills come after a random time; half come right before a random change of the file system (a file opened for
writing, renamed, deleted), where a stage is most easily hurt. A run is killed a few times and then left to finish.

Prints a table and, as its last line, the same in JSON; the exit code is 1 if any result differed.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT), str(ROOT / "src")]

from support.settings import SHIPPED_PARAMS, write_places  # noqa: E402

STAGES = ("unzip", "index", "stats", "split", "train", "evaluate", "report")
TRAIN_SHARE = 0.4  # the rest is divided among the others: training runs longest and has most to lose

SMALL = {
    "data": {"image_size": 32},
    "model": {"name": "dsunet"},
    "train": {"epochs": 2, "batch_size": 8, "precision": "fp32", "checkpoint_seconds": 0.001},
    "evaluate": {"pictures": 1},
}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
MOST_KILLS_PER_RUN = 6
# What MLflow itself leaves, hidden, of a file that it was copying when it was killed; the next sender copies it whole.
MLFLOW_UNFINISHED = ".artifact.uploading."
SAVED_STATES = ".dvc/tmp/maskdepth/train/*/state-*.pt"


@dataclass
class Tally:
    """What became of one stage.

    Attributes:
        kills: Processes that died of SIGKILL before their end.
        unfinished: Kills that left a file or folder not yet renamed into its place.
        saved: Kills after which a saved state was there to go on from.
        runs: Runs that came to their end, however often they were killed before.
        identical: Runs whose outputs equal those of the undisturbed run.
        half_written: Files in their place, after a kill, that are not what an undisturbed run writes.
        left_over: Files and folders that should not be there any more at the end of a run.
    """

    kills: int = 0
    unfinished: int = 0
    saved: int = 0
    runs: int = 0
    identical: int = 0
    half_written: int = 0
    left_over: int = 0


@dataclass(frozen=True)
class Reference:
    """The undisturbed run of a stage: its outputs in comparable form, how long it took [s], its file-system changes."""

    outputs: dict[str, Any]
    seconds: float
    changes: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare_process()
    chance = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskdepth-kill-") as folder:
        whole = Path(folder) / "reference"
        references = run_reference(whole)
        tallies = {stage: Tally() for stage in STAGES}
        for stage, tally in tallies.items():
            for number, kills in enumerate(share_out(stage, options.kills, chance)):
                disturb(stage, kills, whole, Path(folder) / f"{stage}-{number}", references[stage], tally, chance)
    summary = print_tallies("kill_stages", tallies, {"seed": options.seed, "seconds": time.monotonic() - began})
    return int(summary["identical"] < summary["runs"] or summary["half_written"] + summary["left_over"] > 0)


def prepare_process() -> None:
    """Load what the stages load, without starting a thread: threads do not survive a fork."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "MASKDEPTH_"))]:
        del os.environ[name]
    os.environ |= {"MASKDEPTH_THREADS": "1", "OMP_NUM_THREADS": "1", "MASKDEPTH_DEVICE": "cpu"}
    import matplotlib.pyplot
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import maskdepth.tracking.model  # noqa: F401

    matplotlib.use("agg")
    for stage in STAGES:
        __import__(f"stages.{stage}")
    # The data is little, and would be decoded without the worker processes that a real data set has.
    sys.modules["maskdepth.data.archives.shards"]._LITTLE_BYTES = 0


def share_out(stage: str, kills: int, chance: random.Random) -> Iterator[int]:
    """Divide the kills among the stages, and those of a stage into runs of a few kills each."""
    left = round(kills * (TRAIN_SHARE if stage == "train" else (1 - TRAIN_SHARE) / (len(STAGES) - 1)))
    while left:
        now = min(left, chance.randint(1, MOST_KILLS_PER_RUN))
        left -= now
        yield now


def run_reference(folder: Path) -> dict[str, Reference]:
    """Draw a small data set and run all stages on it, undisturbed."""
    (folder / ".dvc").mkdir(parents=True)
    write_params(folder / "params.yaml")
    write_places(folder)
    assert finish(start(folder, draw_data)) == 0, (folder / "log.txt").read_text()
    references = {}
    for stage in STAGES:
        began = time.monotonic()
        assert finish(start(folder, stage_of(stage))) == 0, (folder / "log.txt").read_text()
        seconds = time.monotonic() - began
        changes = int((folder / "changes.txt").read_text())
        references[stage] = Reference(comparable(folder, stage), seconds, changes)
    return references


def draw_data() -> None:
    from maskdepth.making.drawing.sample import write_sample

    write_sample(Path("data/raw"), "sudhakarmlal", 0, 24, 4, 96, 64)


def write_params(path: Path) -> None:
    from ruamel.yaml import YAML

    params = YAML(typ="safe").load(SHIPPED_PARAMS.read_text())
    for section, values in SMALL.items():
        params[section] |= values
    with path.open("w") as file:
        YAML(typ="safe").dump(params, file)


def disturb(
    stage: str, kills: int, whole: Path, workspace: Path, reference: Reference, tally: Tally, chance: random.Random
) -> None:
    """Kill a stage so many times, then let it run to its end; add what came of it to the tally."""
    shutil.copytree(whole, workspace)
    clear(stage, workspace)
    while kills:
        if kill_once(stage, workspace, reference, chance):
            kills -= 1
            examine(stage, workspace, reference, tally)
        else:  # it was faster
            judge(stage, workspace, reference, tally)
            clear(stage, workspace)
    assert finish(start(workspace, stage_of(stage))) == 0, (workspace / "log.txt").read_text()
    judge(stage, workspace, reference, tally)
    shutil.rmtree(workspace)


def clear(stage: str, workspace: Path) -> None:
    """Remove what a stage writes, as DVC does before it runs one; of the report, also the store."""
    for path in outputs(stage):
        remove(workspace / path)
    if stage == "report":
        for path in (*workspace.glob("mlflow.db*"), workspace / "mlartifacts", workspace / ".dvc" / "tmp"):
            remove(path)


def examine(stage: str, workspace: Path, reference: Reference, tally: Tally) -> None:
    """Add to the tally what a killed process has left."""
    tally.kills += 1
    tally.unfinished += any(map(is_unfinished, workspace.rglob("*")))
    tally.saved += any(workspace.glob(SAVED_STATES))
    wrong = list_half_written(workspace, stage, reference)
    tally.half_written += len(wrong)
    if wrong:
        print(f"{workspace.name}: half written {wrong}", file=sys.stderr)


def judge(stage: str, workspace: Path, reference: Reference, tally: Tally) -> None:
    """Add to the tally whether a run that came to its end is as if nobody had disturbed it."""
    left = [*filter(is_unfinished, workspace.rglob("*")), *workspace.glob(SAVED_STATES)]
    found = comparable(workspace, stage)
    different = [name for name, value in reference.outputs.items() if found.get(name) != value]
    tally.runs += 1
    tally.identical += not different and len(found) == len(reference.outputs)
    tally.left_over += len(left)
    if different or left:
        print(f"{workspace.name}: different {different}, left over {left}", file=sys.stderr)


def kill_once(stage: str, workspace: Path, reference: Reference, chance: random.Random) -> bool:
    """Start a stage to kill it at a random instant; False when it ended before."""
    if chance.random() < 0.5:
        process = start(workspace, stage_of(stage), chance.randrange(reference.changes))
        code = finish(process)
    else:
        process = start(workspace, stage_of(stage))
        code = finish(process, chance.uniform(0, reference.seconds))
    assert code in (0, -signal.SIGKILL), (workspace / "log.txt").read_text()
    return code == -signal.SIGKILL


def start(workspace: Path, work: Callable[[], None], doomed_change: int | None = None) -> int:
    """Fork a process that works in a workspace and dies before that change of the file system, counted from 0."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(workspace)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The mirror of a training is another process, with kill tests of its own; here it would only cost time.
        sys.executable = "/bin/true"
        changes = watch_changes(doomed_change)
        work()
        (Path.cwd() / "changes.txt").write_text(str(changes[0]))
        code = 0
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def watch_changes(doomed: int | None) -> list[int]:
    """Count the changes of the file system from now on, in the list's only item; die before the doomed one."""
    count = [0]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and is_writing(*arguments[1:])):
            if count[0] == doomed:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(look)
    return count


def is_writing(mode: str | None, flags: int) -> bool:
    return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def finish(process: int, seconds: float = float("inf")) -> int:
    """Wait for a process, at most so long [s], then kill it; return its exit code, negative for a signal."""
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.001)


def stage_of(stage: str) -> Callable[[], None]:
    """Give the stage as a call with the paths of dvc.yaml."""
    words = shlex.split(pipeline()[stage]["cmd"])[3:]
    paths = {name.removeprefix("--"): Path(value) for name, value in zip(words[::2], words[1::2], strict=True)}

    def call() -> None:
        sys.modules[f"stages.{stage}"].main(**paths)

    return call


def outputs(stage: str) -> list[Path]:
    """Give what dvc.yaml declares that a stage writes."""
    declared = pipeline()[stage].get("outs", []) + pipeline()[stage].get("metrics", [])
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in declared]


def pipeline() -> dict[str, Any]:
    from ruamel.yaml import YAML

    stages: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


def comparable(workspace: Path, stage: str) -> dict[str, Any]:
    """Give a stage's outputs without what may differ from run to run: durations, and what MLflow calls its runs."""
    if stage == "report":
        return {"rows": stored_rows(workspace / "mlflow.db"), "waiting": waiting(workspace)}
    return {str(path.relative_to(workspace)): read_comparable(path) for path in written_files(workspace, stage)}


def written_files(workspace: Path, stage: str) -> Iterator[Path]:
    for path in outputs(stage):
        found = (workspace / path).rglob("*") if (workspace / path).is_dir() else [workspace / path]
        yield from (file for file in found if file.is_file() and not is_unfinished(file))


def read_comparable(path: Path) -> Any:
    from support.trained import read_points

    if path.suffix == ".jsonl" and path.stem != "train":
        return "a journal of what this very run did"
    if path.suffix == ".jsonl":
        return sorted(read_points(path))
    if path.name in ("train.json", "model.json"):
        return without_seconds(json.loads(path.read_text()))
    if path.name == "epochs.csv":
        lines = [line.split(",") for line in path.read_text().splitlines()]
        return [[cell for name, cell in zip(lines[0], line, strict=True) if "seconds" not in name] for line in lines]
    return path.read_bytes()


def without_seconds(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: without_seconds(value) for name, value in values.items() if name != "seconds"}
    return values


def stored_rows(database: Path) -> list[tuple[Any, ...]]:
    """Give every MLflow run with its settings, points and files; a run or a point sent twice shows."""
    rows = []
    with closing(sqlite3.connect(database)) as store:
        runs = store.execute(
            "select run_uuid, name, status, artifact_uri from runs where lifecycle_stage = 'active' order by name"
        ).fetchall()
        for run, name, status, artifacts in runs:
            params = store.execute("select key, value from params where run_uuid = ? order by 1", [run]).fetchall()
            points = store.execute(
                "select key, step, value, timestamp from metrics where run_uuid = ? order by 1, 2, 3, 4", [run]
            ).fetchall()
            there = (path for path in Path(artifacts).rglob("*") if path.is_file() and path.parent.name != "images")
            sent = [path for path in there if not path.name.startswith(MLFLOW_UNFINISHED)]
            files = sorted((path.relative_to(artifacts).as_posix(), path.stat().st_size) for path in sent)
            rows.append((name, status, params, points, files))
    return rows


def waiting(workspace: Path) -> int:
    return len(list((workspace / ".dvc/tmp/maskdepth/outbox").glob("*/row.json")))


def list_half_written(workspace: Path, stage: str, reference: Reference) -> list[str]:
    """List the files that a killed stage left in their place and that are not what an undisturbed run writes."""
    if stage == "report":
        return []  # its result is in the store, which is looked at in the end
    files = {str(path.relative_to(workspace)): path for path in written_files(workspace, stage)}
    return [name for name, path in files.items() if not is_whole(path, reference.outputs[name])]


def is_whole(path: Path, expected: Any) -> bool:
    if path.suffix == ".jsonl":
        return True  # a journal grows record by record
    try:
        return bool(read_comparable(path) == expected)
    except (ValueError, IndexError):
        return False


def is_unfinished(path: Path) -> bool:
    """Tell whether this, or the folder that it is in, is meant to be renamed when it is complete."""
    return "/.partial-" in str(path) or path.suffix == ".building"


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def print_tallies(benchmark: str, tallies: Mapping[str, Any], facts: dict[str, float]) -> dict[str, int]:
    """Print the counts of each stage as a table, and the same in JSON as the last line; return their sums."""
    stages = {stage: asdict(tally) for stage, tally in tallies.items()}
    names = [name for name, value in next(iter(stages.values())).items() if isinstance(value, int)]
    summary = {name: sum(counts[name] for counts in stages.values()) for name in names}
    print(f"{'stage':<10}" + "".join(f"{name.replace('_', ' '):>15}" for name in names))
    for stage, counts in (stages | {"all": summary}).items():
        print(f"{stage:<10}" + "".join(f"{counts[name]:>15}" for name in names))
    rounded = {name: round(value, 1) for name, value in facts.items()}
    print(json.dumps({"benchmark": benchmark, **summary, **rounded, "stages": stages}))
    return summary


if __name__ == "__main__":
    sys.exit(main())
