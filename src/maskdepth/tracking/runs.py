"""The rows of this project: what MLflow shall show of a data stage, a running training and a whole experiment."""

from pathlib import Path

import pandas as pd

from maskdepth.params import Params
from maskdepth.process.files import parse_json
from maskdepth.tracking.address import DATA_EXPERIMENT, EXPERIMENT
from maskdepth.tracking.identity import data_versions, experiment_name, run_name, run_params, run_tags, workspace_tags
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
DATA_VERSION_TAG = "data.version"
PICTURES = "pictures"


def live_row(train_id: str, params: Params) -> Row:
    """Describe the row of a training that runs; what only `evaluate` reads comes when that has run."""
    return Row(
        key=train_id,
        kind="live",
        experiment=EXPERIMENT,
        name=run_name(params),
        join={TRAIN_TAG: train_id, EXPERIMENT_TAG: experiment_name()},
        claim={},
        tags=run_tags(params),
        params={key: value for key, value in run_params(params).items() if not key.startswith("evaluate.")},
        journals=(LIVE_JOURNAL,),
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
    versions = data_versions(Path("dvc.lock"), DATA_STAGES)
    index_digest = next((version.digest for version in versions if version.name == "index.csv"), "")
    row = Row(
        key=trained.id,
        kind="report",
        experiment=EXPERIMENT,
        name=run_name(params),
        join={TRAIN_TAG: trained.id, EXPERIMENT_TAG: experiment_name()},
        claim={EVALUATE_TAG: evaluated.id},
        tags=run_tags(params) | {DATA_VERSION_TAG: index_digest},
        params=run_params(params),
        journals=("train.jsonl", "evaluate.jsonl"),
        points=_points(train, "model/", trained) + _points(test, "test/", evaluated),
        data=versions,
        links={stage: journals[stage].id for stage in DATA_STAGES},
    )
    files = {name: journals_dir / name for name in row.journals} | {MODEL: models / MODEL}
    files[f"{FILES}/{PICTURES}/{picture.name}"] = picture
    return put_row(row, files | _shown_files(trained) | _shown_files(evaluated))


def curves(journal: JournalContents) -> pd.DataFrame:
    """Tabulate what a training recorded per epoch, one row an epoch.

    Returns:
        The column `epoch` and one column per metric; `val/mask_iou` is the column `val_mask_iou`.
    """
    records = [(point.step, point.name.replace("/", "_"), point.value) for point in journal.points]
    values = pd.DataFrame(records, columns=["epoch", "name", "value"])
    return values.pivot(index="epoch", columns="name", values="value").reset_index()


def _points(path: Path, prefix: str, journal: JournalContents) -> tuple[Point, ...]:
    """Read the numbers of a flat JSON file that stand in no record of the journal; they have the time of its end."""
    known = {point.name for point in journal.points}
    numbers = {
        prefix + name: value
        for name, value in parse_json(path.read_text(encoding="utf-8")).items()
        if isinstance(value, int | float)
    }
    when = journal.ended or journal.started
    return tuple(Point(name, float(value), when, 0) for name, value in numbers.items() if name not in known)


def _shown_files(journal: JournalContents) -> dict[str, Path]:
    """Name the files of a journal by their path in the row's folder; what is no longer there is left out."""
    paths = {artifact: Path(artifact.path) for artifact in journal.artifacts}
    return {f"{FILES}/{artifact.folder}/{path.name}": path for artifact, path in paths.items() if path.is_file()}
