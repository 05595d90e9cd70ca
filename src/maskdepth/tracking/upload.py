"""Sends the parts of one row into its run: params, tags and data, metrics, files, the network. Each is idempotent."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from maskdepth.process.files import parse_json, replace_text
from maskdepth.tracking.address import DATA_EXPERIMENT
from maskdepth.tracking.card import CARD_FILE, RUN_ID, read_numbers
from maskdepth.tracking.journal import JournalContents, Point
from maskdepth.tracking.outbox import FILES, JOURNAL_TAG, MODEL, Row
from maskdepth.tracking.runs import DETAILS
from maskdepth.tracking.store import Connection, Deadline, find_runs
from maskdepth.tracking.tags import PARAMS_TAG, pack_tags, read_params, read_tags, set_internal, shorten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Item = TypeVar("Item")

HOST_TAG, PROCESS_TAG = "host", "process"

# MLflow takes 1,000 metrics and 100 params or tags per call.
_METRICS_PER_CALL = 500
_PARAMS_PER_CALL = 100
_PICTURES = {".png", ".jpg", ".jpeg"}
NOT_SHOWN = ("train/seconds_", "val/loss_")
# Pictures of the same samples in every run are worth laying side by side.
_SIDE_BY_SIDE = "fixed"
_SENT_FILE = "sent.json"
_USUAL_THRESHOLD = 0.5


def send_facts(connection: Connection, run: "Run", row: Row, journals: list[JournalContents]) -> None:
    """Send params, tags and the data used; on a run that has them this changes nothing."""
    from mlflow.entities import Param, RunTag

    client, run_id = connection.client, run.info.run_id
    writer = {HOST_TAG: journals[-1].host, PROCESS_TAG: journals[-1].process}
    told = {key: value for journal in journals for key, value in journal.tags.items()}
    damaged = sum(journal.damaged for journal in journals)
    counted = {"maskdepth.damaged_records": str(damaged)} if damaged else {}
    settings = shorten(row.params)
    known = {PARAMS_TAG: json.dumps(read_params(run) | settings, sort_keys=True)} if row.shown is not None else {}
    tags = row.tags | row.join | row.claim | writer | told | counted | known | _linked_runs(connection, row)
    # What a run has of its own stands in the JSON tag beside what is sent now.
    packed = pack_tags(_internal(run) | {key: value.replace(RUN_ID, run_id) for key, value in tags.items()})
    changed = {key: value for key, value in packed.items() if run.data.tags.get(key) != value}
    shown = settings if row.shown is None else {key: settings[key] for key in row.shown}
    missing = {key: value for key, value in shown.items() if key not in run.data.params}
    for part in _batches(missing.items(), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=[Param(key, value) for key, value in part])
    for tag_part in _batches(changed.items(), _PARAMS_PER_CALL):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tag_part])
    _send_data(client, run_id, row)


def _internal(run: "Run") -> dict[str, str]:
    """Give the tags that stand in the JSON tag alone."""
    return {key: value for key, value in read_tags(run).items() if key not in run.data.tags}


def _linked_runs(connection: Connection, row: Row) -> dict[str, str]:
    """Name the data rows that a training row was made from, by stage."""
    return {
        f"maskdepth.data.{stage}": run.info.run_id
        for stage, journal_id in row.links.items()
        for run in find_runs(connection, DATA_EXPERIMENT, {JOURNAL_TAG: journal_id})[:1]
    }


def _send_data(client: "MlflowClient", run_id: str, row: Row) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    used = [
        DatasetInput(
            Dataset(v.name, v.digest, "dvc", v.source, profile=json.dumps({"num_rows": v.rows})),
            [InputTag("mlflow.data.context", v.name)],
        )
        for v in row.data
    ]
    if used:
        client.log_inputs(run_id, used)


def is_shown(name: str) -> bool:
    """Tell whether a metric is for people: what an epoch's parts took, and terms on the validation split, are not."""
    return not name.startswith(NOT_SHOWN)


def send_points(client: "MlflowClient", run_id: str, folder: Path, points: list[Point], deadline: Deadline) -> None:
    """Send metrics not sent yet. The note of how many were sent only saves work: MLflow keeps equal points once."""
    from mlflow.entities import Metric

    note = folder / _SENT_FILE
    done = _count_sent(note, run_id)
    for part in _batches(points[done:], _METRICS_PER_CALL):
        deadline.check()
        # MLflow would store an infinite value as a very large one.
        client.log_batch(run_id, [Metric(p.name, p.value, p.time, p.step) for p in part if not math.isinf(p.value)])
        done += len(part)
        replace_text(note, json.dumps({"run_id": run_id, "points": done}))


def _count_sent(note: Path, run_id: str) -> int:
    try:
        before = parse_json(note.read_text(encoding="utf-8"))
        return int(before["points"]) if before["run_id"] == run_id else 0
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # none, or damaged
        return 0


def send_files(client: "MlflowClient", run_id: str, folder: Path, deadline: Deadline) -> None:
    """Send files one by one, those that are there in full left out."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        deadline.check()
        name = path.relative_to(folder)
        shown_in = name.parent.as_posix() if name.parent.parts else None
        sizes = {Path(entry.path).name: entry.file_size for entry in client.list_artifacts(run_id, shown_in)}
        if sizes.get(path.name) != path.stat().st_size:
            client.log_artifact(run_id, str(path), shown_in)
        if path.suffix.lower() in _PICTURES and any(part.startswith(_SIDE_BY_SIDE) for part in name.parts):
            _show_picture(client, run_id, path, name.with_suffix("").as_posix())


def _show_picture(client: "MlflowClient", run_id: str, path: Path, key: str) -> None:
    """Put a picture where the web interface compares pictures of several runs, once."""
    from PIL import Image

    key = re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", key)
    shown = [Path(entry.path).name for entry in client.list_artifacts(run_id, "images")]
    start = key.replace("/", "~") + "+step+0+"
    # A picture is stored in full and small; the small one comes last, so it tells that both are there.
    if not any(name.startswith(start) and "+compressed" in name for name in shown):
        with Image.open(path) as picture:
            client.log_image(run_id, picture.convert("RGB"), key=key, step=0)


def send_network(connection: Connection, row: Row, run_id: str, folder: Path) -> None:
    """Send the network as a model that can be loaded and served; where that fails, its weights alone."""
    from maskdepth.tracking.model import send_model

    card = folder / FILES / CARD_FILE
    outcome = send_model(
        connection,
        row.experiment,
        run_id,
        folder / MODEL,
        card if card.is_file() else None,
        _read_threshold(folder / FILES / DETAILS),
    )
    set_internal(connection.client, run_id, "model.export", outcome)
    if outcome != "ok":
        connection.client.log_artifact(run_id, str(folder / MODEL), "model")


def _read_threshold(details: Path) -> float:
    """Read at which probability the masks were measured; a half where nobody says."""
    try:
        return read_numbers(details.read_text(encoding="utf-8")).get("threshold", _USUAL_THRESHOLD)
    except (FileNotFoundError, ValueError):  # of an older version, or damaged
        return _USUAL_THRESHOLD


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    everything = list(items)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
