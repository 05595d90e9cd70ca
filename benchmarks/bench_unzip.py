"""Archives to arrays: without files on the way, and how close that is to decoding alone.

Three bases: the students' first step (extract every member to a file, then read the files), the same with the decoding
into arrays by all cores, and libjpeg alone on pictures that are in memory already. Every way starts its own processes
within its time.
"""

import shutil
from functools import partial
from pathlib import Path

from drawn import ARRAY_SIZE, BACKGROUNDS, PICTURE_SIZE, scratch, unzip, write_archives
from peers import decode_only, extract_and_decode, extract_and_read
from timing import Case, cost, measure, parse_options, report, speedup

from maskdepth.data.archives import find_archives
from maskdepth.data.shards import usable_cores

_SAMPLES, _QUICK_SAMPLES = 2000, 100
_ARCHIVES = 4

_EXTRACT, _IN_PLACE = "extract, then read the files, all cores", "read the members in place, 1 core"
_DECODE, _OURS = "extract, then decode the files, all cores", "unzip, all cores"
_ALONE, _LIMIT = "unzip, 1 core", "libjpeg alone, 1 core"


def main() -> None:
    options = parse_options(__doc__)
    num_samples = _QUICK_SAMPLES if options.quick else _SAMPLES
    workers = usable_cores()
    with scratch() as folder:
        raw = write_archives(folder, num_samples, _ARCHIVES)
        files, arrays = folder / "files", folder / "arrays"
        clear_files, clear_arrays = (partial(shutil.rmtree, path, ignore_errors=True) for path in (files, arrays))
        members = read_members(raw)
        extracting = partial(extract_and_read, raw, files, workers)
        decoding = partial(extract_and_decode, raw, files, ARRAY_SIZE, workers)
        cases = {
            _EXTRACT: Case(extracting, len(members), clear_files),
            _IN_PLACE: Case(partial(read_members, raw), len(members), clear_files),
            _DECODE: Case(decoding, len(members), clear_files),
            _OURS: Case(partial(unzip, raw, arrays, workers), len(members), clear_arrays),
            _ALONE: Case(partial(unzip, raw, arrays, 1), len(members), clear_arrays),
            _LIMIT: Case(partial(decode_only, members), len(members)),
        }
        times = measure(cases, quick=options.quick)
        facts = {"disk": describe_disk(folder), "backgrounds in each archive": BACKGROUNDS}
    ratios = [
        speedup(times, _EXTRACT, _IN_PLACE, ">= 10"),
        speedup(times, _DECODE, _OURS, ">= 10"),
        cost(times, _ALONE, _LIMIT, "<= 2"),
    ]
    data = (
        f"{len(members):,} JPEG members in {_ARCHIVES} zips, {sum(map(len, members)) / 1e6:.0f} MB; drawn at "
        f"{PICTURE_SIZE} px, their bytes repeated; arrays of {ARRAY_SIZE} px; units are members"
    )
    report("unzip", data, options, times, ratios, facts)


def read_members(raw: Path) -> list[bytes]:
    """Get the bytes of every member, size and CRC checked."""
    contents = []
    for archive in find_archives(raw):
        with archive.opened() as read:
            contents += [read(member) for member in archive.members()]
    return contents


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
