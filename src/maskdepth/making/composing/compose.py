"""Data sets composed of cut-outs and backgrounds: `maskdepth compose`.

Everything follows from the settings and the pictures: the same call writes the same bytes, however many processes
work and however often they were stopped. Archives appear one by one, each complete, and a run that was stopped goes
on with the first that is missing.
"""

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any

from filelock import FileLock

from maskdepth.making.composing.archives import (
    UNLABELLED_TABLE,
    archives_of,
    find_missing,
    prepared_dir,
    write_batch,
    write_loose,
    write_tables,
)
from maskdepth.making.composing.composition import Composition, Plan, check_composition, plan_composition
from maskdepth.making.composing.manifest import STATE_FOLDER, claim_folder, describe, write_manifest
from maskdepth.making.composing.pictures import Inputs, Preparation, describe_inputs, find_inputs, preparations, prepare
from maskdepth.making.composing.rendering import Task, render_all
from maskdepth.process.console import progress, say
from maskdepth.process.workers import WorkerPool, map_in_order, open_pool
from maskdepth.process.workspace import require_writable

# A task is this many composites, or fewer large ones: enough work to be worth a message between processes, and little
# enough for a few of them to wait in memory.
_MOST_SAMPLES = 64
_MOST_PIXELS = 8_000_000
# Tasks, for each worker, that are under way or wait to be written.
_AHEAD = 4


def compose(composition: Composition, workers: int) -> dict[str, Any]:
    """Make a data set, or what is missing of it if a run before this one was stopped.

    Beside the archives lies the hidden folder `.compose` with manifest.csv (every placement) and manifest.json
    (settings, seed, versions, and which file has which number).

    Args:
        composition: What to make.
        workers: Processes to make it with, 1 or more.

    Returns:
        What manifest.json says.

    Raises:
        FileNotFoundError: A folder, or the depth map of a background, is missing.
        ValueError: A setting, a picture or the output folder cannot be used.
        Timeout: Another process composes into the same folder.
    """
    began = time.monotonic()
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected 1 or more")
    check_composition(composition)
    inputs = find_inputs(composition)
    plan = plan_composition(composition, len(inputs.backgrounds), len(inputs.foregrounds))
    _make_folder(composition)
    with FileLock(composition.out / STATE_FOLDER / "lock", timeout=0):
        content = describe(composition, describe_inputs(composition, inputs))
        claim_folder(composition.out, content)
        missing = find_missing(plan)
        if missing:
            _write_missing(plan, inputs, missing, workers)
        write_tables(plan)
        archives = sorted(chain.from_iterable(archives_of(plan, batch) for batch in plan.batches))
        content |= {"finished": True, "composites": plan.totals.number, "archives": archives}
        write_manifest(composition.out, content)
    _say_result(plan, len(archives), time.monotonic() - began)
    return content


def _make_folder(composition: Composition) -> None:
    out = composition.out
    for folder in filter(None, (composition.foregrounds, composition.backgrounds, composition.depths)):
        if out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the archives would lie among the pictures of {folder}; choose a folder outside of it")
    require_writable([out / STATE_FOLDER])


def _write_missing(plan: Plan, inputs: Inputs, missing: Sequence[int], workers: int) -> None:
    """Write the files beside the archives, and the batches of archives that are missing."""
    with open_pool(workers) as pool:
        folder = prepared_dir(plan)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _prepare_all(preparations(plan.composition, inputs, folder), pool, _AHEAD * workers)
            write_loose(plan)
            batches = [batch for batch in plan.batches if batch in missing]
            results = map_in_order(pool, render_all, _tasks(plan, batches), _AHEAD * workers)
            made = progress(chain.from_iterable(results), "composing", sum(map(plan.count_of, batches)))
            for batch, some in groupby(made, key=lambda composite: composite.batch):
                write_batch(plan, batch, some)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _prepare_all(work: Sequence[Preparation], pool: WorkerPool | None, ahead: int) -> None:
    """Bring all pictures to size.

    Raises:
        ValueError: Some cannot be used; names the first.
    """
    reasons = list(filter(None, progress(map_in_order(pool, prepare, work, ahead), "preparing", len(work))))
    if reasons:
        more = f" (and {len(reasons) - 1} more of {len(work)} pictures)" if len(reasons) > 1 else ""
        raise ValueError(f"{reasons[0]}{more}")


def _tasks(plan: Plan, batches: Iterable[int]) -> Iterator[Task]:
    length = max(1, min(_MOST_SAMPLES, _MOST_PIXELS // plan.composition.size**2))
    for batch in batches:
        samples = plan.samples_of(batch)
        while some := list(islice(samples, length)):
            yield Task(plan, prepared_dir(plan), batch, some)


def _say_result(plan: Plan, num_archives: int, seconds: float) -> None:
    composition, totals = plan.composition, plan.totals
    line = (
        f"compose: {totals.number:,} composites of {totals.foreground:,} objects on {totals.background:,} backgrounds "
        f"in {num_archives:,} archives, {seconds:.1f} s"
    )
    if composition.depths is None:
        out, layout = composition.out, composition.layout
        command = ["maskdepth", "label-depth", out / UNLABELLED_TABLE, "--layout", layout, "--out", out / "labels"]
        line += (
            f"; they have no depth yet: `{shlex.join(map(str, command))}` makes it; or label the backgrounds and "
            "compose with --depths"
        )
    say(line)
