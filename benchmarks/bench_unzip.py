"""Archives to arrays: without files on the way, and how close that is to decoding alone.

Bases: what the student projects did first, in one process (extract every member to a file, then read the files or open
and resize them), the same by all cores, and libjpeg alone on pictures that are in memory already. Files that never
leave the disk's cache cost too little: whatever writes is timed until all is on the disk (`sync`), ours as well. Every
way starts its own processes within its time. Ours gets more members than the bases: a worker takes a second to start,
which is nothing at 400,000 samples. A file costs the bases more the more there are, so few favour them. The pictures
have the size that those of four of the five projects had.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from support.drawn import ARRAY_SIZE, BACKGROUNDS, USUAL_SIZE, scratch, unzip, write_archives
from support.peers import decode_only, decode_turbo_only, extract_and_decode, extract_and_open, extract_and_read
from support.shipped import write_shipped
from support.timing import Case, cost, measure, parse_options, report, speedup

from maskdepth.data.archives.archive import find_archives
from maskdepth.process.workers import usable_cores

# Runs a command, and prints the largest memory of any of its processes [kB].
_WEIGH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_ROOT = Path(__file__).parent.parent
_SAMPLES, _QUICK_SAMPLES = 1200, 100
_MORE = 6  # times as many for the stage
_ARCHIVES = 4
# For the memory: archives of the same size, few and many.
_FEW, _MANY, _QUICK_MANY = 1, 10, 2
_SAMPLES_EACH = 1300

_READ, _IN_PLACE = "extract, then read the files, 1 process", "read the members in place, 1 process"
_OPEN, _DECODE = "extract, then open and resize each file, 1 process", "extract, then decode the files, all cores"
_OURS, _ALONE = "unzip, all cores", "unzip, 1 core"
_LIMIT, _TURBO = "Pillow's libjpeg alone, 1 core", "libjpeg-turbo with vector instructions alone, 1 core"


def main() -> None:
    options = parse_options(__doc__)
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    more = _MORE * num_samples
    workers = usable_cores()
    with scratch() as folder:
        few, many = (write_raw(folder / name, number) for name, number in (("few", num_samples), ("many", more)))
        files, arrays = folder / "files", folder / "arrays"
        members, num_members = read_members(few), count_members(many)
        cases = {
            _READ: case(partial(extract_and_read, few, files), len(members), files),
            _IN_PLACE: case(partial(read_members, few), len(members), files),
            _OPEN: case(partial(extract_and_open, few, files, ARRAY_SIZE), len(members), files),
            _DECODE: case(partial(extract_and_decode, few, files, ARRAY_SIZE, workers), len(members), files),
            _OURS: case(partial(unzip, many, arrays, workers), num_members, arrays),
            _ALONE: case(partial(unzip, many, arrays, 1), num_members, arrays),
            _LIMIT: Case(partial(decode_only, members), len(members)),
            _TURBO: Case(partial(decode_turbo_only, members), len(members)),
        }
        times = measure(cases, quick=options.quick)
        facts = {"disk": describe_disk(folder), "backgrounds in each archive": BACKGROUNDS}
        facts |= measure_memory(folder, _QUICK_MANY if options.quick else _MANY)
    ratios = [
        speedup(times, _READ, _IN_PLACE, ">= 10"),
        speedup(times, _OPEN, _OURS, ">= 10"),
        speedup(times, _OPEN, _ALONE),
        speedup(times, _DECODE, _OURS),
        cost(times, _ALONE, _LIMIT, "<= 2"),
        cost(times, _ALONE, _TURBO),
    ]
    data = (
        f"{len(members):,} JPEG members in {_ARCHIVES} zips, for unzip {num_members:,}; drawn at {USUAL_SIZE} px, "
        f"their bytes repeated; arrays of {ARRAY_SIZE} px; units are members"
    )
    report("unzip", data, options, times, ratios, facts)


def case(run: Callable[[], object], units: int, written: Path) -> Case:
    """Time a way to the end of its writing, from a disk that has nothing left to do."""

    def run_and_sync() -> None:
        run()
        os.sync()

    def clear() -> None:
        shutil.rmtree(written, ignore_errors=True)
        os.sync()

    return Case(run_and_sync, units, clear)


def write_raw(folder: Path, num_samples: int) -> Path:
    """Write the archives of so many samples into a new folder."""
    folder.mkdir()
    return write_archives(folder, num_samples, _ARCHIVES, USUAL_SIZE)


def count_members(raw: Path) -> int:
    """Count the members of all archives."""
    return sum(len(archive.members()) for archive in find_archives(raw))


def read_members(raw: Path) -> list[bytes]:
    """Get the bytes of every member, size and CRC checked."""
    contents: list[bytes] = []
    for archive in find_archives(raw):
        members = archive.members()
        with archive.opened(members) as read:
            contents += map(read, members)
    return contents


def measure_memory(folder: Path, most: int) -> dict[str, object]:
    """Run the stage on few and many archives; give the largest memory of any of its processes [MB]."""
    found: dict[str, object] = {}
    for number in (_FEW, most):
        place = folder / f"memory{number}"
        place.mkdir()
        raw = write_archives(place, number * _SAMPLES_EACH, number)
        write_shipped(place)
        command = ["-m", "stages.unzip", "--raw", str(raw), "--arrays", "arrays", "--journal", "unzip.jsonl"]
        environment = os.environ | {"PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"}
        # By a small process in between: the memory of the one that starts another counts as the other's, too.
        done = subprocess.run(
            [sys.executable, "-c", _WEIGH, sys.executable, *command],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        members = number * (3 * _SAMPLES_EACH + BACKGROUNDS)
        found[f"peak memory of the stage, {members:,} members in {number} archives [MB]"] = int(done.stdout) // 1024
    return found


def describe_disk(folder: Path) -> str:
    """Name the file system of a folder, where the system tells."""
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return "unknown"
    lines = [line.split()[:3] for line in mounts.read_text().splitlines()]
    fitting = [(len(point), kind) for _, point, kind in lines if folder.resolve().is_relative_to(point)]
    return max(fitting)[1]


if __name__ == "__main__":
    main()
