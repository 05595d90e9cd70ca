"""The rows of this project: what MLflow shall show of a data stage, a running training and a whole experiment."""

import hashlib
import tempfile
from pathlib import Path

import pandas as pd

from maskdepth.params import Params
from maskdepth.tracking.address import DATA_EXPERIMENT, EXPERIMENT
from maskdepth.tracking.card import CARD_FILE, read_numbers, write_card, write_model_card
from maskdepth.tracking.identity import (
    data_outputs,
    datasets,
    experiment_name,
    run_name,
    run_params,
    run_tags,
    shown_params,
    workspace_tags,
)
from maskdepth.tracking.journal import JournalContents, Point, read_journal
from maskdepth.tracking.outbox import (
    EVALUATE_TAG,
    EXPERIMENT_TAG,
    FILES,
    JOURNAL_TAG,
    LIVE_JOURNAL,
    MODEL,
    TRAIN_TAG,
    Row,
    put_row,
)

DATA_STAGES = ("unzip", "index", "stats", "split")
STAGE_TAG = "maskdepth.stage"
NOTE_TAG = "mlflow.note.content"
SAMPLES_TAG = "maskdepth.samples"
# Begins the tags with the hashes that DVC gave to the data.
OUTPUT_TAG = "dvc.out."
PICTURES = "pictures"
TABLES = "tables"
SAMPLES, DETAILS = f"{TABLES}/samples.parquet", f"{TABLES}/details.json"
# Of the numbers of a training those that are no last point of a curve.
OF_A_MODEL = ("best_epoch", "parameters", "seconds")


def live_row(train_id: str, params: Params) -> Row:
    """Describe the row of a training that runs; what only `evaluate` reads comes when that has run."""
    settings = {key: value for key, value in run_params(params).items() if not key.startswith("evaluate.")}
    return Row(
        key=train_id,
        kind="live",
        experiment=EXPERIMENT,
        name=run_name(params),
        join={TRAIN_TAG: train_id, EXPERIMENT_TAG: experiment_name()},
        claim={},
        tags=run_tags(params),
        params=settings,
        journals=(LIVE_JOURNAL,),
        shown=shown_params(settings),
    )


def put_data_row(journal_path: Path, stage: str) -> Path:
    """Put the row of a data stage into the outbox; return its folder."""
    journal = read_journal(journal_path)
    row = Row(
        key=journal.id,
        kind="data",
        experiment=DATA_EXPERIMENT,
        name=f"{stage}-{journal.id[:8]}",
        join={JOURNAL_TAG: journal.id},
        claim={},
        tags=workspace_tags() | {STAGE_TAG: stage},
        params=journal.params,
        journals=(journal_path.name,),
    )
    return put_row(row, {journal_path.name: journal_path} | _shown_files(journal))


def put_experiment_row(
    params: Params, journals_dir: Path, models: Path, train: Path, test: Path, picture: Path
) -> Path:
    """Put the complete row of an experiment into the outbox, whether its stages ran here or were restored.

    Args:
        params: All of params.yaml.
        journals_dir: One journal per stage, `<stage>.jsonl`.
        models: The folder with the weights.
        train: Numbers of the exported weights, JSON.
        test: Numbers of the test split, JSON.
        picture: The curves of the training.

    Returns:
        The row's folder.
    """
    journals = {stage: read_journal(journals_dir / f"{stage}.jsonl") for stage in (*DATA_STAGES, "train", "evaluate")}
    trained, evaluated = journals["train"], journals["evaluate"]
    outputs = data_outputs(Path("dvc.lock"), DATA_STAGES)
    files = {name: journals_dir / name for name in (LIVE_JOURNAL, "evaluate.jsonl")} | {MODEL: models / MODEL}
    files[f"{FILES}/{PICTURES}/{picture.name}"] = picture
    files |= _shown_files(trained) | _shown_files(evaluated) | _settings_file()
    settings = run_params(params)
    shown, tags = shown_params(settings), run_tags(params)
    numbers, name = _numbers(test, files), run_name(params)
    data = datasets(outputs, _count_samples(journals["split"]))
    # What tells the run from others, and what its code was.
    told = (settings, shown, tags["mlflow.source.git.commit"], tags["git.changed"])
    row = Row(
        key=trained.id,
        kind="report",
        experiment=EXPERIMENT,
        name=name,
        join={TRAIN_TAG: trained.id, EXPERIMENT_TAG: experiment_name()},
        claim={EVALUATE_TAG: evaluated.id},
        tags=tags
        | {f"{OUTPUT_TAG}{Path(path).name}": digest for path, digest in outputs.items()}
        | {SAMPLES_TAG: _digest(files.get(f"{FILES}/{SAMPLES}"))}
        | {NOTE_TAG: write_card(numbers, *told, _picture(files))},
        params=settings,
        journals=(LIVE_JOURNAL, "evaluate.jsonl"),
        points=_points(train, "model/", trained, OF_A_MODEL) + _points(test, "test/", evaluated),
        data=data,
        links={stage: journals[stage].id for stage in DATA_STAGES},
        shown=shown,
    )
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / CARD_FILE
        card.write_text(write_model_card(name, numbers, *told, data), encoding="utf-8")
        return put_row(row, files | {f"{FILES}/{CARD_FILE}": card})


def curves(journal: JournalContents) -> pd.DataFrame:
    """Tabulate what a training recorded per epoch, one row an epoch.

    Returns:
        The column `epoch` and one column per metric; `val/mask_iou` is the column `val_mask_iou`.
    """
    records = [(point.step, point.name.replace("/", "_"), point.value) for point in journal.points]
    values = pd.DataFrame(records, columns=["epoch", "name", "value"])
    return values.pivot(index="epoch", columns="name", values="value").reset_index()


def _points(
    path: Path, prefix: str, journal: JournalContents, wanted: tuple[str, ...] | None = None
) -> tuple[Point, ...]:
    """Read the numbers of a flat JSON file that stand in no record of the journal; they have the time of its end."""
    known = {point.name for point in journal.points}
    values = read_numbers(path.read_text(encoding="utf-8"))
    numbers = {prefix + name: value for name, value in values.items() if wanted is None or name in wanted}
    when = journal.ended or journal.started
    return tuple(Point(name, value, when, 0) for name, value in numbers.items() if name not in known)


def _numbers(test: Path, files: dict[str, Path]) -> dict[str, float]:
    """Read what cards show: also what is no metric of DVC's."""
    numbers = read_numbers(test.read_text(encoding="utf-8"))
    details = files.get(f"{FILES}/{DETAILS}")
    return numbers if details is None else read_numbers(details.read_text(encoding="utf-8")) | numbers


def _picture(files: dict[str, Path]) -> str:
    """Name the picture of a card by its path among the artifacts, "" where there is none."""
    pictures = (f"{PICTURES}/{name}.png" for name in ("fixed", "median"))
    return next((path for path in pictures if f"{FILES}/{path}" in files), "")


def _settings_file() -> dict[str, Path]:
    path = Path("params.yaml")
    return {f"{FILES}/{path.name}": path} if path.is_file() else {}


def _digest(path: Path | None) -> str:
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _count_samples(journal: JournalContents) -> dict[str, int]:
    counts = {point.name.partition("/"): point.value for point in journal.points}
    return {split: int(value) for (split, _, kind), value in counts.items() if kind == "samples"}


def _shown_files(journal: JournalContents) -> dict[str, Path]:
    """Name the files of a journal by their path in the row's folder; what is no longer there is left out."""
    paths = {artifact: Path(artifact.path) for artifact in journal.artifacts}
    return {f"{FILES}/{artifact.folder}/{path.name}": path for artifact, path in paths.items() if path.is_file()}
