"""Proves that a sweep's forecast counts all that an experiment does, and says nothing where nothing is known."""

import json

import pytest
from support.settings import SHIPPED_PARAMS

from maskdepth.params import load_params, override
from maskdepth.sweeping.forecast import expected_seconds
from maskdepth.tracking.journal import open_journal

HERE = load_params(SHIPPED_PARAMS)
TWICE = override(HERE, {"train.epochs": 2 * HERE.train.epochs}, "the test")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose last run trained for 100 s and evaluated for 30."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "journals").mkdir()
    (tmp_path / "metrics" / "train.json").write_text(json.dumps({"seconds": 100.0}))
    seconds = 1000
    monkeypatch.setattr("maskdepth.tracking.journal.time.time_ns", lambda: 10**9 * seconds)
    with open_journal(tmp_path / "journals" / "evaluate.jsonl", "evaluate"):
        seconds += 30
    return tmp_path


def test_training_evaluation_and_starts_are_counted_and_training_alone_grows_with_epochs(repository):
    once, twice = (expected_seconds(repository, HERE, wanted) for wanted in (HERE, TWICE))
    assert once == pytest.approx(100 + 30 + 15)
    assert twice - once == pytest.approx(100)


@pytest.mark.parametrize("damage", ["metrics/train.json", "journals/evaluate.jsonl"])
@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"seconds": "soon"}'])
def test_nothing_is_said_where_nothing_is_known(repository, damage, content):
    path = repository / damage
    path.unlink() if content is None else path.write_text(content)
    assert expected_seconds(repository, HERE, HERE) is None
