"""Every stage at three sizes, up to the 400,000 composites that the students made: time, memory, and how they grow.

The data are composed as `maskdepth compose` does it, of drawn objects on drawn scenes, and the stages run as DVC starts
them. Training is stopped after its first step, and a network that has not been trained is evaluated on a small share.
Memory is what the processes of a stage allocate; pages of the mapped arrays are counted apart, as the system takes them
back when others need them.
"""

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from support.drawn import build, scratch
from support.shipped import SHIPPED_PARAMS, write_shipped
from support.timing import Options, Ratio, report, summarise

from maskdepth.making.drawing.objects import OBJECT_KINDS, draw_object
from maskdepth.making.drawing.scenes import SCENE_KINDS, draw_scene
from maskdepth.models.saved import save_network

_ROOT = Path(__file__).resolve().parent.parent
_STATES = Path(".dvc/tmp/maskdepth/train")
_DRAWN_SIZE = 128  # [px]
SIZE = 64  # [px] of the composites
_SAMPLED = 0.02  # [s] between two looks at the memory
_MOST_MEGABYTES, _MOST_GROWTH = 2000, 1.1
_ARRAYS, _INDEX, _SPLIT = "--arrays arrays", "--registered registered --index index.csv", "--split split.csv"
_STAGES = {
    "unzip": f"--raw raw {_ARRAYS}",
    "index": f"{_ARRAYS} {_INDEX} --rejected rejected.csv",
    "stats": f"{_ARRAYS} {_INDEX} --places places.csv --moments stats.csv --summary stats.json --gallery gallery.png",
    "split": f"--index index.csv --places places.csv {_SPLIT} --croissant croissant.json",
    "train": f"{_ARRAYS} {_INDEX} --stats stats.csv {_SPLIT} --models models --metrics train.json --plots plots",
    "evaluate": f"{_ARRAYS} {_INDEX} {_SPLIT} --models models --metrics test.json --reports reports",
}
_TITLES = {"train": "train, first step", "evaluate": "evaluate, few backgrounds"}


@dataclass(frozen=True)
class World:
    """What data sets are composed of.

    Attributes:
        backgrounds: How many.
        placements: How often every object stands on every background; as often again it is mirrored.
        share: Of the backgrounds that validate, and that test.
    """

    backgrounds: int
    placements: int
    share: float

    def count_objects(self, size: int) -> int:
        """Count the objects that make `size` composites."""
        objects, rest = divmod(size, self.per_object)
        if rest or not objects:
            raise SystemExit(f"{size} composites: expected a multiple of {self.per_object}")
        return objects

    @property
    def per_object(self) -> int:
        """Composites of one object."""
        return self.backgrounds * self.placements * 2


@dataclass(frozen=True)
class Run:
    """What one stage took.

    Attributes:
        seconds: Of the wall clock.
        busy: Seconds that processors worked on it; other jobs on the machine change these least.
        megabytes: The most memory that its processes had allocated together.
        mapped: The most megabytes of files that they had mapped, counted once per process.
    """

    seconds: float
    busy: float
    megabytes: float
    mapped: float


_PART, _WHOLE = [4000, 12_000], [4000, 40_000, 400_000]
STUDENTS, FEW = World(100, 20, 0.05), World(12, 2, 0.2)


def main() -> None:
    options, sizes, folder, picture = parse()
    world = FEW if options.quick else STUDENTS
    with scratch() as temporary:
        base = folder or temporary
        draw_world(base / "drawn", world.backgrounds, world.count_objects(max(sizes)))
        runs = {size: run_all(base, world, size) for size in sizes}
    if picture:
        draw_growth(runs, picture)
    times = {f"{title(stage)}, {size:,}": [runs[size][stage].seconds] for stage in runs[sizes[0]] for size in sizes}
    facts = {
        f"{title(stage)}, {size:,}": f"{run.busy:.2f} processor seconds, {run.mapped:.0f} MB of mapped files"
        for size in sizes
        for stage, run in runs[size].items()
    }
    data = f"composites of {SIZE} px, {world.per_object:,} of each object, drawn; JPEG, quality 60"
    report("scale", data, options, times, compare(runs, sizes), facts)


def parse() -> tuple[Options, list[int], Path | None, Path | None]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its numbers mean nothing")
    parser.add_argument("--scale", action="store_true", help="4,000, 40,000 and 400,000 composites")
    parser.add_argument("--sizes", help="other numbers of composites, separated by commas")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, with 10 GB for 400,000 composites")
    parser.add_argument("--picture", type=Path, help="PNG to draw: work against size")
    found = parser.parse_args()
    usual = [FEW.per_object, 2 * FEW.per_object] if found.quick else _WHOLE if found.scale else _PART
    sizes = [int(size) for size in found.sizes.split(",")] if found.sizes else usual
    if len(sizes) < 2:
        parser.error("--sizes: expected two or more, to see how they grow")
    return Options(found.quick, found.scale, os.getloadavg()), sizes, found.folder, found.picture


def title(stage: str) -> str:
    return _TITLES.get(stage, stage)


def compare(runs: dict[int, dict[str, Run]], sizes: Sequence[int]) -> list[Ratio]:
    """Say how the work grows over the last step of size, where starting up weighs least; and the peaks."""
    few, many = sizes[-2:]
    ratios = []
    for stage in runs[many]:
        growth = math.log(runs[many][stage].busy / runs[few][stage].busy) / math.log(many / few)
        ratios.append(summarise(f"exponent of processor time, {title(stage)}", [max(growth, 0)], f"<= {_MOST_GROWTH}"))
    for size in sizes:
        for stage, run in runs[size].items():
            ratios.append(summarise(f"MB at most, {title(stage)}, {size:,}", [run.megabytes], f"<= {_MOST_MEGABYTES}"))
    return ratios


def draw_world(folder: Path, backgrounds: int, objects: int) -> None:
    """Draw scenes with their depth, and objects with alpha."""
    for kind in ("backgrounds", "depths", "foregrounds"):
        (folder / kind).mkdir(parents=True)
    scenes, things = list(SCENE_KINDS), list(OBJECT_KINDS)
    for number in range(backgrounds):
        scene = draw_scene(scenes[number % len(scenes)], np.random.default_rng([1, number]), _DRAWN_SIZE)
        Image.fromarray(scene.picture).save(folder / "backgrounds" / f"{number}.png")
        Image.fromarray(np.round(255 * scene.depth).astype(np.uint8)).save(folder / "depths" / f"{number}.png")
    for number in range(objects):
        thing = Image.fromarray(draw_object(things[number % len(things)], np.random.default_rng([2, number])).picture)
        thing.thumbnail((_DRAWN_SIZE, _DRAWN_SIZE))
        thing.save(folder / "foregrounds" / f"{number}.png")


def run_all(base: Path, world: World, size: int) -> dict[str, Run]:
    """Compose so many composites and run the stages on them, in a folder that is gone at the end."""
    folder = base / str(size)
    (folder / ".dvc").mkdir(parents=True)
    objects = folder / "foregrounds"
    objects.mkdir()
    for number in range(world.count_objects(size)):
        shutil.copy(base / "drawn" / "foregrounds" / f"{number}.png", objects)
    drawn = [f"--{kind} {base / 'drawn' / kind}" for kind in ("backgrounds", "depths")]
    settings = f"--foregrounds foregrounds {' '.join(drawn)} --out raw --size {SIZE} --placements {world.placements}"
    runs = {"compose": watch(folder, ["-m", "maskdepth.cli", "compose", *settings.split()])}
    write_params(folder, world.share)
    (folder / "models").mkdir()
    for stage, paths in _STAGES.items():
        command = ["-m", f"stages.{stage}", *paths.split(), "--journal", f"journals/{stage}.jsonl"]
        runs[stage] = watch(folder, command, until=has_state if stage == "train" else None)
        if stage == "train":
            save_network(build("dsunet"), folder / "models" / "model.safetensors")
        print(f"{size:,} {title(stage)}: {runs[stage]}", file=sys.stderr, flush=True)
    shutil.rmtree(folder)
    return runs


def write_params(folder: Path, share: float) -> None:
    """Write the shipped settings, but for a small test share, and a state that is saved after the first step."""
    write_shipped(folder)
    params = YAML(typ="safe").load(SHIPPED_PARAMS.read_text())
    params["split"] |= {"val": share, "test": share}
    params["train"]["checkpoint_seconds"] = 0.01
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(params, file)


def has_state(folder: Path) -> bool:
    """Tell whether the training has saved a state."""
    return any((folder / _STATES).glob("*/state-*.pt"))


def watch(folder: Path, command: Sequence[str], until: Callable[[Path], bool] | None = None) -> Run:
    """Run Python in a folder and look at the memory of its processes; end it as soon as `until` holds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    environment = kept | {"PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"}
    began, busy = time.perf_counter(), count_busy()
    megabytes = mapped = reached = 0.0
    with (folder / "log.txt").open("w+") as log:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            seen = [read_memory(pid) for pid in family_of(process.pid)]
            megabytes = max(megabytes, sum(memory["RssAnon"] for memory in seen) / 1024)
            mapped = max(mapped, sum(memory["RssFile"] for memory in seen) / 1024)
            if until and not reached and until(folder):
                reached = time.perf_counter()
                process.terminate()
            time.sleep(_SAMPLED)
        log.seek(0)
        assert process.returncode == 0 or reached, log.read()
    return Run((reached or time.perf_counter()) - began, count_busy() - busy, megabytes, mapped)


def count_busy() -> float:
    """Count the seconds that processors have worked on processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def family_of(pid: int) -> Iterator[int]:
    """List a process and all that it has started."""
    yield pid
    try:
        children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has ended
        return
    for child in " ".join(children).split():
        yield from family_of(int(child))


def read_memory(pid: int) -> dict[str, int]:
    """Read the kilobytes that a process has allocated and that it has mapped; 0 when it has ended."""
    try:
        lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    except OSError:
        lines = []
    found = {words[0].rstrip(":"): int(words[1]) for words in lines if words[0] in ("RssAnon:", "RssFile:")}
    return {"RssAnon": 0, "RssFile": 0} | found


def draw_growth(runs: dict[int, dict[str, Run]], path: Path) -> None:
    """Draw the work of each stage against the number of composites, beside a line of equal growth."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    sizes = list(runs)
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for stage in runs[sizes[0]]:
        axes.loglog(sizes, [runs[size][stage].busy for size in sizes], marker="o", label=title(stage))
    start = min(run.busy for run in runs[sizes[0]].values())
    axes.loglog(sizes, [start * size / sizes[0] for size in sizes], color="grey", linestyle=":", label="proportional")
    axes.set(xlabel="composites", ylabel="processor seconds")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
