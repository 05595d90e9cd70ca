"""The card of a run: what it reached, beside what has learned nothing, and how to make it again."""

import pytest
from ruamel.yaml import YAML

from maskdepth.tracking.card import (
    find_baselines,
    headline_rows,
    read_numbers,
    repeat_command,
    write_card,
    write_model_card,
)
from maskdepth.tracking.outbox import DataVersion

NUMBERS = {
    "score": 0.8,
    "mask_iou": 0.9,
    "mask_iou_low": 0.8,
    "mask_iou_high": 0.95,
    "difference_mask_iou": 0.7,
    "depth_ssi_mae": 0.06,
    "mean_map_depth_ssi_mae": 0.05,
    "ramp_depth_ssi_mae": 0.08,
    "mask_mae": 0.1,
}
PARAMS = {"loss.mask": "bce+dice", "loss.depth": "l1", "train.augment": "flip,cutout", "train.seed": "3"}


def test_a_row_says_which_way_is_better_and_what_lies_below_the_best_of_what_learned_nothing():
    assert headline_rows(NUMBERS) == [
        ["mask_iou \u2191", "0.900", "0.800 .. 0.950", "0.700 difference", ""],
        ["depth_ssi_mae \u2193", "0.060", "", "0.050 mean map", "worse"],
    ]


def test_baselines_are_told_apart_by_what_they_are():
    assert list(find_baselines(NUMBERS)) == ["difference", "mean map", "ramp"]
    assert find_baselines({"remembered": 1.0, "difference_unknown": 2.0}) == {}


def test_the_same_run_is_made_again_by_its_commands():
    shown = ("loss.mask", "train.augment", "train.seed", "evaluate.threshold")
    assert repeat_command(PARAMS, shown, "abc") == [
        "git checkout abc",
        "dvc exp run -S loss.mask=bce+dice -S 'train.augment=[flip,cutout]' -S train.seed=3",
    ]


def test_a_card_holds_score_table_picture_and_commands():
    card = write_card(NUMBERS, PARAMS, ("loss.depth",), "", "src/a.py", "pictures/fixed.png")
    assert card.startswith("**score 0.800**")
    assert "| mask_iou \u2191 | 0.900 |" in card
    assert "get-artifact?path=pictures/fixed.png&run_uuid={run_id}" in card
    assert "dvc exp run -S loss.depth=l1" in card
    assert "The same again, with the changes that were in src/a.py:" in card
    assert write_card({}, PARAMS, (), "", "", "").startswith("The same again:")


def test_a_model_card_says_what_it_is_what_it_reached_and_where_it_ends():
    params = PARAMS | {"model.name": "dsunet", "data.image_size": "64", "split.by": "background"}
    used = [DataVersion("train", "a" * 32, "", 1690), DataVersion("test", "b" * 32, "", 420)]
    card = write_model_card("bce+dice|l1-s3", NUMBERS, params, ("loss.depth",), "abc", "", used)
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    known = YAML(typ="safe").load(front)
    assert (known["license"], known["library_name"], known["metrics"]) == (
        "mit",
        "maskdepth",
        ["mask_iou", "depth_ssi_mae"],
    )
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# bce+dice|l1-s3",
        "## Results",
        "## Training data",
        "## Limits",
        "## How to use it",
    ]
    assert "| mask_iou \u2191 | 0.900 | 0.800 .. 0.950 | 0.700 difference |  |" in text
    assert f"* train: 1,690 samples (`{'a' * 32}`)" in text
    assert "* Not shown to beat what has learned nothing: depth_ssi_mae \u2193" in text
    assert "maskdepth promote 'bce+dice|l1-s3'" in text
    assert text.rstrip().endswith("git checkout abc\ndvc exp run -S loss.depth=l1\n```")


def test_hugging_face_reads_a_model_card():
    from huggingface_hub import ModelCard

    card = ModelCard(write_model_card("bce|l1-s0", NUMBERS, {}, (), "", "", []))
    assert card.data.license == "mit"
    assert "depth-estimation" in card.data.tags


def test_only_numbers_are_read():
    assert read_numbers('{"a": 1, "b": "x", "c": null}') == {"a": 1.0}
    with pytest.raises(ValueError, match="expected a JSON object of numbers, found list"):
        read_numbers("[1]")
