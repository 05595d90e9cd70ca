"""Summary: cells and sizes are what they say, baselines are judged sample by sample, other places are shown first."""

import numpy as np
import pandas as pd
import pytest

from maskdepth.evaluation.summary import (
    assign_cells,
    assign_sizes,
    detailed_numbers,
    headline_numbers,
    judge_baselines,
    not_beaten,
    pick_samples,
    pooled_iou,
    summarise,
    tabulate_places,
)
from maskdepth.metrics.catalogue import HEADLINE, METRICS


def table(num_places: int, num_objects: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    pairs = [(b, f) for b in range(num_places) for f in range(num_objects)]
    samples = pd.DataFrame(pairs, columns=["place", "foreground"])
    samples["sample_id"] = [f"{seed}-{b}-{f}" for b, f in pairs]
    for metric in HEADLINE:
        samples[metric] = random.random(len(samples))
    return samples.assign(split="test", cell="unseen_background_seen_object", size="small")


def test_the_summary_holds_test_cells_and_sizes():
    mixed = table(5, 5, 1).assign(split="mixed", cell="seen_background_unseen_object")
    summary = summarise(pd.concat([table(5, 5), mixed])).set_index(["samples", "metric"])
    assert summary.loc[("test", "mask_iou"), "mean"] == pytest.approx(table(5, 5)["mask_iou"].mean())
    cell = summary.loc[("seen_background_unseen_object", "depth_ssim")]
    assert cell["low"] < cell["mean"] < cell["high"]
    assert cell["mean"] == pytest.approx(mixed["depth_ssim"].mean())
    assert summary.loc[("small", "mask_iou"), "mean"] == summary.loc[("test", "mask_iou"), "mean"]


def test_a_baseline_is_beaten_where_the_same_samples_are_better_all_over():
    test = table(6, 6)
    hard = {metric: test[metric] for metric in ("mask_iou", "depth_ssi_mae")}
    noise = np.random.default_rng(0).normal(0, 0.01, len(test))
    worse = pd.DataFrame({"mask_iou": hard["mask_iou"] - 0.02 + noise, "depth_ssi_mae": hard["depth_ssi_mae"] + 0.02})
    equal = pd.DataFrame({"mask_iou": hard["mask_iou"] + noise - noise.mean()})
    judged = judge_baselines(test, {"worse": worse, "equal": equal}).set_index(["baseline", "metric"])
    assert judged["is_beaten"].to_dict() == {
        ("worse", "mask_iou"): True,
        ("worse", "depth_ssi_mae"): True,
        ("equal", "mask_iou"): False,
    }
    # The scores themselves vary a hundred times as much as the differences.
    assert judged.loc[("worse", "depth_ssi_mae"), "low"] == pytest.approx(0.02)
    assert not_beaten(judged.reset_index()) == {"mask_iou": ["equal"]}


def test_from_four_places_nothing_is_said_to_be_beaten():
    test = table(4, 6)
    judged = judge_baselines(test, {"worse": pd.DataFrame({"mask_iou": test["mask_iou"] - 0.5})})
    assert judged["low"].isna().all()
    assert not judged["is_beaten"].any()
    assert tabulate_places(test)["samples"].tolist() == [6] * 4


def test_the_headline_is_a_score_a_mean_and_the_best_baseline_of_each_metric():
    test = table(5, 5)
    few, many = (pd.DataFrame({name: test[name] + shift for name in HEADLINE}) for shift in (-0.1, 0.1))
    numbers = headline_numbers(summarise(test), judge_baselines(test, {"few": few, "many": many}))
    assert list(numbers) == ["score", *HEADLINE, *(f"{name}_baseline" for name in HEADLINE)]
    assert numbers["score"] == pytest.approx((numbers["mask_iou"] + numbers["depth_ssim"]) / 2)
    for name in HEADLINE:
        better = many if METRICS[name] == "high" else few
        assert numbers[f"{name}_baseline"] == pytest.approx(better[name].mean())


def test_the_details_are_intervals_baselines_and_whether_they_are_beaten():
    test = table(5, 5)
    worse = pd.DataFrame({"mask_iou": test["mask_iou"] - 0.1, "depth_ssim": test["depth_ssim"] - 0.1})
    equal = pd.DataFrame({"mask_iou": test["mask_iou"]})
    numbers = detailed_numbers(summarise(test), judge_baselines(test, {"ramp": worse, "difference": equal}))
    assert numbers["mask_iou_low"] < test["mask_iou"].mean() < numbers["mask_iou_high"]
    assert numbers["ramp_depth_ssim"] == pytest.approx(test["depth_ssim"].mean() - 0.1)
    assert (numbers["depth_ssim_beats_all"], numbers["mask_iou_beats_all"]) == (True, False)
    few = detailed_numbers(summarise(table(4, 5)), judge_baselines(table(4, 5), {}))
    assert "mask_iou_low" not in few


def test_pooled_iou_counts_pixels_and_the_mean_counts_samples():
    samples = pd.DataFrame({"mask_intersection": [90, 0], "mask_union": [100, 10]})
    assert pooled_iou(samples) == 90 / 110


def test_cells_say_what_training_saw():
    train = pd.DataFrame({"place": [1], "foreground": [1]})
    held_out = pd.DataFrame({"place": [1, 1, 2, 2], "foreground": [1, 2, 1, 2]})
    assert len(set(assign_cells(held_out, train))) == 4


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, ["small"]), (2, ["medium", "small"]), (9, ["large"] * 3 + ["medium"] * 3 + ["small"] * 3)],
)
def test_sizes_are_terciles_however_few_there_are(count, sizes):
    assert assign_sizes(pd.Series(np.linspace(0.3, 0.01, count))).tolist() == sizes


def scored(scores, places, splits="test"):
    ids = [f"s{number}" for number in range(len(scores))]
    columns = {"sample_id": ids, "split": splits, "place": places, "mask_iou": scores, "depth_ssim": scores}
    return pd.DataFrame(columns)


def test_few_samples_are_picked_once_each():
    picked = pick_samples(scored([0.2, 0.4, 0.9], [1, 1, 1]), 5)
    assert picked == {"best": [2, 1, 0], "median": [1, 0, 2], "worst": [0, 1, 2], "fixed": [1, 0, 2]}


def test_pictures_show_different_places_first():
    picked = pick_samples(scored([0.9, 0.8, 0.7, 0.1], ["a", "a", "b", "b"]), 2)
    assert picked == {"best": [0, 2], "median": [1, 2], "worst": [3, 1], "fixed": [1, 2]}


def test_the_fixed_samples_do_not_depend_on_the_scores_and_are_of_the_test():
    splits = ["mixed", "test", "test", "test"]
    one, other = (pick_samples(scored(scores, list("abca"), splits), 2) for scores in ([1, 2, 3, 4], [4, 3, 1, 2]))
    assert one["fixed"] == other["fixed"] == [1, 2]


def test_no_pictures_are_no_pictures():
    assert pick_samples(scored([0.5], ["a"]), 0) == {}
