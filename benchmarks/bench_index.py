"""The index: pairing by name, against searching the listings for every pair of object and background, and merging.

What no pairing can do without is to look at every name once: sets of them stand for that.

Searching costs pairs x names, so at 400,000 rows it would take the better part of an hour: there it is timed on some of
the pairs and multiplied, which is exact, as every pair searches all names once.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from support.drawn import (
    ARRAY_SIZE,
    BACKGROUNDS,
    PLACEMENTS,
    list_members,
    list_samples,
    make_arrays,
    names_of,
    scratch,
)
from support.peers import map_by_listing, merge_by_pandas
from support.timing import ROUNDS, Case, Ratio, Times, cost, measure, parse_options, report, speedup, summarise

from maskdepth.data.archives.members import Members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.joining import build_index
from maskdepth.data.index.rejections import write_rejected
from maskdepth.data.samples import write_index

_ROWS, _QUICK_ROWS = 4000, 400
_MANY, _WHOLE = 40_000, 400_000
_SCALE_ROUNDS = 3
# The pairs of object and background that are searched for, of all.
_PAIRS = 2
_PICTURES = 4000
_LISTING, _MERGING, _OURS = "search the listings", "pandas extract and merge", "index with pixel check and files"
_NAMES = "sets of the names"


def main() -> None:
    options = parse_options(__doc__, has_scale=True)
    rows = _QUICK_ROWS if options.quick else _ROWS
    with scratch() as folder:
        cases = list_cases(folder, rows)
        if options.scale:
            many = list_cases(folder, _MANY)
            cases |= {named(_OURS, _MANY): many[named(_OURS, _MANY)]} | list_cases(folder, _WHOLE)
        times = measure(cases, quick=options.quick, rounds=_SCALE_ROUNDS if options.scale else ROUNDS)
    ratios = compare(times, rows) + (compare(times, _WHOLE, ">= 1000") + grow(times) if options.scale else [])
    data = (
        f"names of {rows:,} samples" + (f", of {_MANY:,} and {_WHOLE:,}" if options.scale else "") + f"; arrays of "
        f"{ARRAY_SIZE} px in memory, {min(rows, _PICTURES):,} composites of noise, repeated"
    )
    report("index", data, options, times, ratios, {"pairs searched of those there are": _PAIRS})


def compare(times: Times, rows: int, goal: str = "") -> list[Ratio]:
    ours = named(_OURS, rows)
    return [
        speedup(times, named(_LISTING, rows), ours, goal),
        speedup(times, named(_MERGING, rows), ours),
        cost(times, ours, named(_NAMES, rows)),
    ]


def grow(times: Times) -> list[Ratio]:
    """Say how our time grows; from 1,000 samples on the pixel check costs the same, which lowers the exponents."""
    whole = times[named(_OURS, _WHOLE)]
    ratios = [summarise(f"seconds of {named(_OURS, _WHOLE)}", whole, "<= 5")]
    for rows in (_ROWS, _MANY):
        growth = zip(times[named(_OURS, rows)], whole, strict=True)
        exponents = [math.log(many / few) / math.log(_WHOLE / rows) for few, many in growth]
        ratios.append(summarise(f"exponent of growth from {rows:,} to {_WHOLE:,} rows", exponents, "<= 1.1"))
    few, many = times[named(_OURS, _ROWS)], times[named(_OURS, _MANY)]
    rest = [math.log10((c - b) / (b - a)) for a, b, c in zip(few, many, whole, strict=True)]
    return [*ratios, summarise("exponent without what is the same for any number of rows", rest, "<= 1.1")]


def named(case: str, rows: int) -> str:
    return f"{case}, {rows:,} rows"


def list_cases(folder: Path, rows: int) -> dict[str, Case]:
    samples = list_samples(rows)
    keys = ["_".join(map(str, sample)) + ".jpg" for sample in samples]
    composites, masks, depths = zip(*map(names_of, keys), strict=True)
    names = (composites, masks, depths)
    pairs = list(product(range(1, samples[-1][0] + 1), range(1, min(BACKGROUNDS, rows // PLACEMENTS) + 1)))
    members, arrays = list_members(rows), make_arrays(rows, min(rows, _PICTURES), ARRAY_SIZE)
    return {
        named(_LISTING, rows): Case(partial(map_by_listing, names, some(pairs)), _PAIRS / len(pairs)),
        named(_MERGING, rows): Case(partial(merge_by_pandas, names)),
        named(_NAMES, rows): Case(lambda: [set(kind) for kind in names]),
        named(_OURS, rows): Case(partial(index, members, arrays, folder)),
    }


def some(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Choose pairs from all over the listings."""
    return list(pairs[:: len(pairs) // _PAIRS])[:_PAIRS]


def index(members: Members, arrays: Arrays, folder: Path) -> None:
    """Do what the stage of that name does with the members' table."""
    found = build_index(replace(members, pictures=dict(members.pictures)), arrays)  # which uses them up
    assert len(found.samples) == len(arrays.composite), found.rejected.head()
    write_index(folder / "index.csv", found.samples)
    write_rejected(folder / "rejected.csv", found.rejected)


if __name__ == "__main__":
    main()
