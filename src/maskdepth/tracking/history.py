"""What a tracking store knows of the runs so far: their settings, per-sample tables, curves, pictures and baselines.

Only the family of runs that is compared is read in full; of all others a store is asked for what stands in its lists.
A table never changes once its run is complete, so that it is fetched once and kept by its hash.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from pyarrow import parquet

from maskdepth.comparing.grouping import Family, LeftOut, Run
from maskdepth.comparing.page import Picture
from maskdepth.comparing.results import ENDPOINTS
from maskdepth.evaluation.disturbances import ROBUSTNESS_COLUMNS
from maskdepth.process.files import replacing
from maskdepth.process.workspace import state_dir
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.answers import ANSWER_TAG
from maskdepth.tracking.card import find_baselines, read_numbers
from maskdepth.tracking.runs import DETAILS, OUTPUT_TAG, PICTURES, SAMPLES, SAMPLES_TAG
from maskdepth.tracking.sqlite import holds_something
from maskdepth.tracking.store import connect, explain, trouble
from maskdepth.tracking.tags import read_params, read_tags

if TYPE_CHECKING:
    import mlflow.entities
    from mlflow import MlflowClient

Item = TypeVar("Item")
Result = TypeVar("Result")

CURVES = {"val/mask_iou": "validation mask IoU", "val/depth_ssim": "validation depth SSIM"}

_RUNS_PER_CALL = 1000
_AT_A_TIME = 8
_COLUMNS = ("sample_id", "split", "place", "background", "foreground", "mask_iou")
_FIXED = "fixed"
_MOST_PICTURES = 6
_TEST = "test/"


@dataclass(frozen=True)
class History:
    """The runs of one experiment of a store.

    Attributes:
        client: Of the open store.
        address: Of the store, as it may be shown.
        experiment_id: The store's key of the experiment.
        runs: All of them.
        metrics: The last numbers of each run by its id.
    """

    client: "MlflowClient"
    address: str
    experiment_id: str
    runs: tuple[Run, ...]
    metrics: Mapping[str, Mapping[str, float]]


def open_history(experiment: str) -> History:
    """Read the list of runs of an experiment.

    Raises:
        ValueError: There is no store yet, it cannot be reached, or it has no such experiment.
    """
    store = locate_store()
    if store.database is not None and not holds_something(store.database):
        raise ValueError(
            f"{store.database}: no store here, so no runs; `dvc repro` or `dvc exp run` makes some, and "
            "MLFLOW_TRACKING_URI names a server"
        )
    try:
        client = connect(store).client
        found = client.get_experiment_by_name(experiment)
        if found is None:
            known = sorted(known.name for known in client.search_experiments())
            raise ValueError(f"no experiment {experiment!r}; {store.address} has {', '.join(known)}")
        listed = list(_search(client, found.experiment_id))
    except trouble() as error:
        raise ValueError(f"{store.address}: {explain(error)}") from error
    runs = tuple(_describe(run) for run in listed)
    return History(
        client, store.address, found.experiment_id, runs, {run.info.run_id: run.data.metrics for run in listed}
    )


def read_samples(history: History, family: Family) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Bring the per-sample tables of a family together.

    Returns:
        One row per combination, seed and test sample, as `maskdepth.comparing.statistics.compare` takes it, empty where
        no table could be read; and the runs whose table could not.
    """
    members = [(name, run) for name, by_seed in family.combinations.items() for run in by_seed.values()]
    tables, left_out, whose = [], [], []
    read = _at_once(lambda member: _read_table(history.client, member[1]), members)
    for (name, run), table in zip(members, read, strict=True):
        if isinstance(table, str):
            left_out.append(LeftOut(run, table))
        else:
            tables.append(table)
            whose.append((name, run.seed))
    if not tables:
        return pd.DataFrame(), left_out
    together = pd.concat(tables, ignore_index=True)
    # Where one of them knows no places, backgrounds are what all of them know.
    if not all("place" in table for table in tables):
        together = together.drop(columns="place", errors="ignore")
    names, seeds = (np.repeat(np.array(values, object), list(map(len, tables))) for values in zip(*whose, strict=True))
    return together.assign(combination=names, seed=seeds.astype(int)), left_out


def read_curves(history: History, family: Family) -> pd.DataFrame:
    """Read how the runs of a family learned.

    Returns:
        Rows of `combination`, `seed`, `epoch`, `metric` and `value`.
    """
    wanted = [
        (name, run, metric)
        for metric in CURVES
        for name, by_seed in family.combinations.items()
        for run in by_seed.values()
        if metric in history.metrics[run.run_id]
    ]
    histories = _at_once(lambda each: history.client.get_metric_history(each[1].run_id, each[2]), wanted)
    rows = [
        (name, run.seed, point.step, CURVES[metric], point.value)
        for (name, run, metric), points in zip(wanted, histories, strict=True)
        for point in points
    ]
    return pd.DataFrame(rows, columns=["combination", "seed", "epoch", "metric", "value"])


def read_pictures(history: History, family: Family) -> dict[str, list[Picture]]:
    """Fetch the pictures of the fixed test samples, drawn by the first seed of each combination that has some."""
    firsts = [(name, next(iter(by_seed.values()))) for name, by_seed in family.combinations.items()]
    found = _at_once(lambda first: _fetch_pictures(history.client, first[1].run_id), firsts)
    return {name: pictures for (name, _), pictures in zip(firsts, found, strict=True) if pictures}


def read_baselines(history: History, runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """Read what the predictors reached that have learned nothing: their numbers are those of the data, not of a run."""
    for run in runs:
        numbers = {
            name.removeprefix(_TEST): value
            for name, value in history.metrics[run.run_id].items()
            if name.startswith(_TEST)
        }
        found = find_baselines(_fetch_details(history.client, run.run_id) | numbers)
        if found:
            return found
    return {}


def _search(client: "MlflowClient", experiment_id: str) -> "Iterator[mlflow.entities.Run]":
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_RUNS_PER_CALL, page_token=token)
        yield from (run for run in page if ANSWER_TAG not in run.data.tags)
        token = page.token
        if not token:
            return


def _describe(run: "mlflow.entities.Run") -> Run:
    tags = read_tags(run)
    return Run(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        signature=tags.get("loss.signature", ""),
        params=read_params(run),
        data=tags.get(f"{OUTPUT_TAG}arrays", ""),
        split=tags.get(f"{OUTPUT_TAG}split.csv", ""),
        version=tags.get("mlflow.source.git.commit", "")[:7],
        table=tags.get(SAMPLES_TAG) or None,
        ended=(run.info.end_time or 0) / 1000,
        status=run.info.status,
    )


def _at_once(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(function, items))


def _read_table(client: "MlflowClient", run: Run) -> pd.DataFrame | str:
    """Read the table of a run; give the reason where it cannot be had."""
    assert run.table is not None  # or it would be in no family
    kept = state_dir() / "compare" / f"{run.run_id}-{run.table}.parquet"
    try:
        if not kept.is_file():
            with tempfile.TemporaryDirectory() as folder, replacing(kept) as partial:
                content = Path(client.download_artifacts(run.run_id, SAMPLES, folder)).read_bytes()
                if hashlib.sha256(content).hexdigest() != run.table:
                    raise ValueError("it is not the one that was recorded")
                partial.write_bytes(content)
        # A thousand small files: as a data set of its own each would take three times as long.
        with parquet.ParquetFile(kept) as file:
            wanted = dict.fromkeys([*_COLUMNS, *(endpoint.metric for endpoint in ENDPOINTS), *ROBUSTNESS_COLUMNS])
            table: pd.DataFrame = file.read([name for name in wanted if name in file.schema_arrow.names]).to_pandas()
    except trouble() as error:
        return f"its {SAMPLES} cannot be read: {explain(error)}; run it again"
    if missing := [name for name in ("sample_id", "background", "foreground") if name not in table]:
        return f"its {SAMPLES} has no column {', '.join(missing)}; run it again"
    return table[table["split"] == "test"].drop(columns="split") if "split" in table else table


def _fetch_pictures(client: "MlflowClient", run_id: str) -> list[Picture]:
    """Fetch the pictures of single samples, or where there are none the one that has all of them."""
    try:
        paths = _list_files(client, run_id, PICTURES)
        fixed = [path for path in paths if any(part.startswith(_FIXED) for part in Path(path).parts)]
        single = [path for path in fixed if Path(path).stem != _FIXED] or fixed
        with tempfile.TemporaryDirectory() as folder:
            return [
                Picture(_title(path), Path(client.download_artifacts(run_id, path, folder)).read_bytes())
                for path in single[:_MOST_PICTURES]
            ]
    except trouble():
        return []


def _list_files(client: "MlflowClient", run_id: str, folder: str) -> list[str]:
    """List the pictures in a folder of artifacts and in those within it."""
    paths = []
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            paths += _list_files(client, run_id, entry.path)
        elif entry.path.endswith(".png"):
            paths.append(entry.path)
    return sorted(paths)


def _title(path: str) -> str:
    name = Path(path).stem
    return "test samples" if name == _FIXED else f"sample {name.removeprefix(_FIXED).strip('-_') or name}"


def _fetch_details(client: "MlflowClient", run_id: str) -> dict[str, float]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return read_numbers(Path(client.download_artifacts(run_id, DETAILS, folder)).read_text(encoding="utf-8"))
    except trouble():  # a run need not have any
        return {}
