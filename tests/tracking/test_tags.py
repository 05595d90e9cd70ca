"""Few tags for people, one JSON tag for the rest; settings are found by a search, and the lists show what differs."""

from types import SimpleNamespace

import pytest
from support.settings import SHIPPED_PARAMS

from maskdepth.params import load_params
from maskdepth.tracking.identity import run_params, shown_params
from maskdepth.tracking.tags import pack_tags, read_params, read_tags, shorten


def run(tags, params=None):
    return SimpleNamespace(data=SimpleNamespace(tags=tags, params=params or {}))


def test_what_was_packed_is_read_again_and_nothing_without_a_value_is_kept():
    tags = {"loss.signature": "bce|l1", "host": "here", "maskdepth.data.index": "7", "dvc.exp.name": ""}
    packed = pack_tags(tags)
    assert list(packed) == ["loss.signature", "maskdepth"]
    assert {name: read_tags(run(packed)).get(name, "") for name in tags} == tags


@pytest.mark.parametrize("damaged", ["", "{", "[]", "7", "null"])
def test_a_damaged_tag_reads_as_none(damaged):
    assert read_tags(run({"maskdepth": damaged}))["maskdepth"] == damaged
    assert read_params(run({"params": damaged}, {"train.seed": "0"})) == {"train.seed": "0"}


def test_an_endless_setting_keeps_what_tells_it_from_others():
    shortened = shorten({"one": "a" * 999 + "b", "other": "a" * 999 + "c", "short": "a"})
    assert len(set(shortened.values())) == 3
    assert max(map(len, shortened.values())) < 250


def test_lists_show_the_combination_and_what_is_not_as_shipped():
    params = run_params(load_params(SHIPPED_PARAMS))
    usual = ("model.name", "loss.mask", "loss.depth", "train.epochs", "train.seed")
    assert shown_params(params) == usual
    assert set(shown_params(params | {"train.learning_rate": "0.5", "data.layout.mask": "x"})) == {
        *usual,
        "train.learning_rate",
        "data.layout.mask",
    }
