"""The tags of a run: what a person reads or searches for is a tag of its own, the rest is one JSON tag.

MLflow shows every tag in every list and every card, so what only this project reads would hide what people look for.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from maskdepth.tracking.outbox import EVALUATE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# All of params.yaml; a search finds a setting by `tags.params LIKE '%"train.batch_size": "16"%'`.
PARAMS_TAG = "params"
INTERNAL_TAG = "maskdepth"

_INTERNAL = frozenset({"host", "process", "data.version", "dvc.exp.baseline", "dvc.workspace", "model.export"})
# Beginnings of what is made of a stage's or a file's name.
_INTERNAL_STARTS = ("maskdepth.data.", "dvc.out.", "git.")
_ALSO_INTERNAL = frozenset(
    {EVALUATE_TAG, "maskdepth.row", "maskdepth.reused_because", "maskdepth.damaged_records", "maskdepth.samples"}
)
# MLflow cuts params and tags, and no comparison would find a cut one again.
_LONGEST_VALUE = 200
_LONGEST_TAG = 8000


def pack_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Put what only this project reads into one JSON tag; a tag without a value is none.

    >>> pack_tags({"loss.signature": "bce|l1", "host": "a", "process": "1 2 b", "dvc.exp.name": ""})
    {'loss.signature': 'bce|l1', 'maskdepth': '{"host": "a", "process": "1 2 b"}'}
    """
    own = {name: value for name, value in tags.items() if _is_internal(name) and value}
    read = {name: value[:_LONGEST_TAG] for name, value in tags.items() if not _is_internal(name) and value}
    return read | ({INTERNAL_TAG: json.dumps(own, sort_keys=True)} if own else {})


def read_tags(run: "Run") -> dict[str, str]:
    """Give all tags of a run, those within the JSON tag too; where both have one, the tag of its own counts."""
    return _read_object(run.data.tags.get(INTERNAL_TAG, "")) | dict(run.data.tags)


def read_params(run: "Run") -> dict[str, str]:
    """Give all settings of a run, also those that are no param of MLflow's."""
    return _read_object(run.data.tags.get(PARAMS_TAG, "")) | dict(run.data.params)


def set_internal(client: "MlflowClient", run_id: str, name: str, value: str) -> None:
    """Change one of the tags within the JSON tag."""
    own = _read_object(client.get_run(run_id).data.tags.get(INTERNAL_TAG, ""))
    if own.get(name) != value:
        client.set_tag(run_id, INTERNAL_TAG, json.dumps(own | {name: value}, sort_keys=True))


def shorten(params: Mapping[str, str]) -> dict[str, str]:
    """Give settings as they are stored: of an endless one its beginning and what tells it from others."""
    return {
        key: value
        if len(value) <= _LONGEST_VALUE
        else f"{value[:_LONGEST_VALUE]}... {hashlib.sha256(value.encode()).hexdigest()[:12]}"
        for key, value in params.items()
    }


def _is_internal(name: str) -> bool:
    return name in _INTERNAL or name in _ALSO_INTERNAL or name.startswith(_INTERNAL_STARTS)


def _read_object(text: str) -> dict[str, str]:
    """Read a JSON object of texts; {} where it is damaged, as by an edit in the web interface."""
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}
