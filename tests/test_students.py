"""Proves that the comparison with the students is fair by its settings, loses no training, and sums up rightly."""

import pandas as pd
import pytest
import torch
from compare_students import Store
from students.runs import SYSTEMS, Budget, Data, choose_rows, name_run, settings_of
from students.table import METRICS, THEIR_METRICS, compare, make_rows, mean_over_seeds
from support.settings import SHIPPED_PARAMS

from maskdepth.params import load_params
from maskdepth.tuning.recipes import read_recipes

CPU = torch.device("cpu")
BUDGET = Budget(size=32, samples=20, epochs=3, val=5, test=10)
SHARED = {"data.image_size", "split.by", "split.val", "split.test", "split.seed", "train.epochs", "train.precision"}


def flatten(params):
    return {f"{section}.{name}": value for section, part in params.model_dump().items() for name, value in part.items()}


def measured(mask_iou, depth_ssim=0.5):
    """What a training measured on two test samples, and on one it has seen."""
    table = pd.DataFrame({"sample_id": ["a", "b", "c"], "part": ["test", "test", "train"]})
    table[["foreground", "background"]] = [[1, 1], [2, 2], [1, 2]]
    table[[*METRICS, *THEIR_METRICS]] = 0.5
    return table.assign(mask_iou=mask_iou, depth_ssim=depth_ssim)


@pytest.fixture
def data():
    ids = [(foreground, background) for foreground in range(20) for background in range(20)]
    index = pd.DataFrame(ids, columns=["foreground", "background"])
    index["sample_id"] = [f"{foreground}_{background}" for foreground, background in ids]
    return Data(None, index.assign(place=index["background"]), pd.DataFrame())


def test_every_recipe_takes_part():
    assert set(SYSTEMS) == {"maskdepth", *read_recipes()}


@pytest.mark.parametrize("system", SYSTEMS)
def test_only_what_all_share_differs_from_the_recipe(system):
    found = flatten(settings_of(system, "both", 7, BUDGET, CPU))
    own = flatten(load_params(SHIPPED_PARAMS)) | dict(
        read_recipes()[system].settings if system in read_recipes() else {}
    )
    assert {name for name in own if found[name] != own[name]} <= SHARED | {"train.seed"}
    assert (found["train.seed"], found["train.epochs"], found["split.by"]) == (7, 3, "both")


@pytest.mark.parametrize("split", ["sample", "both"])
def test_all_systems_and_seeds_have_the_same_rows(split, data):
    chosen = [
        choose_rows(data, settings_of(system, split, seed, BUDGET, CPU), BUDGET)
        for system, seed in (("maskdepth", 0), ("mshilpaa", 1), ("sudhakarmlal", 2))
    ]
    for name, count in (("train", 20), ("val", 5), ("test", 10)):
        lists = [rows[name]["sample_id"].tolist() for rows in chosen]
        assert lists[0] == lists[1] == lists[2]
        assert 0 < len(lists[0]) <= count
    assert not set(chosen[0]["train"]["sample_id"]) & set(chosen[0]["test"]["sample_id"])


def test_a_training_has_its_own_name_for_every_setting():
    names = {
        name_run(system, settings_of(system, split, seed, BUDGET, CPU), {"data": data})
        for system in SYSTEMS
        for split in ("sample", "both")
        for seed in (0, 1)
        for data in ("x", "y")
    }
    assert len(names) == len(SYSTEMS) * 8


def test_what_is_kept_is_found_again_and_only_for_its_budget_and_data(tmp_path):
    Store(tmp_path, BUDGET, "x").keep({"name": "run", "seed": 0}, measured(0.5))
    again = Store(tmp_path, BUDGET, "x")
    assert again.has("run") and not again.has("other")
    pd.testing.assert_frame_equal(again.samples_of("run"), measured(0.5))
    assert not Store(tmp_path, BUDGET, "y").has("run")
    assert not Store(tmp_path, Budget(64, 20, 3, 5, 10), "x").has("run")


def test_a_training_that_was_killed_before_its_line_is_not_there(tmp_path):
    store = Store(tmp_path, BUDGET, "x")
    store.keep({"name": "run"}, measured(0.5))
    (tmp_path / "samples/late.csv").write_text("half")
    assert [record["name"] for record in Store(tmp_path, BUDGET, "x").records] == ["run"]


def test_ours_minus_theirs_is_taken_sample_by_sample():
    row = compare(measured([0.9, 0.7, 0.0]), measured([0.8, 0.6, 1.0]).iloc[::-1])
    assert row["ahead_mask_iou"] == pytest.approx(0.1)
    assert row["ahead_depth_ssim"] == 0


def test_seeds_are_averaged_per_sample_and_their_spread_is_told():
    tables = {"one": measured([0.2, 0.4, 0.9]), "two": measured([0.6, 0.8, 0.7]), "ours": measured(1.0)}
    records = [{"name": name, "system": "mshilpaa", "split": "both", "seed": 0, "steps": 6} for name in ("one", "two")]
    records += [{"name": "ours", "system": "maskdepth", "split": "both", "seed": 0}]
    records += [{"name": "gone", "system": "mshilpaa", "split": "both", "seed": 2, "error": "not finite"}]
    ours, theirs = make_rows(records, tables.__getitem__, {"maskdepth": [1.0, 2.0], "mshilpaa": [3.0, 4.0]})
    assert (ours["system"], theirs["system"], theirs["seeds"], theirs["steps"]) == ("maskdepth", "mshilpaa", 2, 6)
    assert theirs["mask_iou"] == pytest.approx(0.5)
    assert (theirs["mask_iou_seed_min"], theirs["mask_iou_seed_max"]) == pytest.approx((0.3, 0.7))
    assert theirs["mask_iou_train"] == pytest.approx(0.8)
    assert theirs["ahead_mask_iou"] == pytest.approx(0.5)
    assert (theirs["time"], theirs["time_min"], theirs["time_max"]) == (2.5, 2.0, 3.0)
    assert theirs["parameters"] == 11_234_066
    assert len(mean_over_seeds(list(tables.values())[:2])) == 3
