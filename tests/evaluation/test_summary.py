"""Summary: cells and sizes are what they say, baselines are judged sample by sample, other places are shown first."""

import zlib

import numpy as np
import pandas as pd
import pytest

from maskdepth.data.samples import IDS, ROWS
from maskdepth.evaluation.intervals import intervals
from maskdepth.evaluation.summary import (
    ABSENT,
    FIXED,
    GIVEN,
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
from maskdepth.metrics.names import HEADLINE, METRICS


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
    summary = summarise(pd.concat([table(5, 5), mixed]), {}).set_index(["samples", "metric"])
    assert summary.loc[("test", "mask_iou"), "mean"] == pytest.approx(table(5, 5)["mask_iou"].mean())
    cell = summary.loc[("seen_background_unseen_object", "depth_ssim")]
    assert cell["low"] < cell["mean"] < cell["high"]
    assert cell["mean"] == pytest.approx(mixed["depth_ssim"].mean())
    assert summary.loc[("small", "mask_iou"), "mean"] == summary.loc[("test", "mask_iou"), "mean"]


def test_the_summary_has_a_row_for_each_metric_and_none_for_numbers_that_are_no_metric():
    numbers = dict.fromkeys([*IDS, *ROWS, "mask_intersection", "mask_union"], 1.0)
    numbers |= {name: table(5, 5)[name] for name in ("place", "foreground")}
    test = table(5, 5).assign(**numbers, mask_area=0.5)
    summary = summarise(test.assign(place=test["place"].astype(str)), {GIVEN: test, ABSENT: test})
    assert list(summary)[:3] == ["samples", "metric", "mean"]
    assert summary.groupby("samples", sort=False)["metric"].agg(list).to_dict() == {
        "test": [*HEADLINE, "mask_area"],
        "unseen_background_seen_object": list(HEADLINE),
        "small": list(HEADLINE),
        "given": list(HEADLINE),
        "absent": list(HEADLINE),
    }


def test_sizes_are_of_the_test_alone_and_cells_of_all():
    test, mixed = table(5, 5), table(5, 5, 1).assign(split="mixed", size="large", cell="other")
    summary = summarise(pd.concat([test, mixed]), {})
    assert set(summary["samples"]) == {"test", "small", "unseen_background_seen_object", "other"}


def test_the_gain_over_a_baseline_is_a_mean_with_its_interval_turned_so_that_more_is_better():
    test = table(5, 5)
    baseline = pd.DataFrame({name: table(5, 5, 1)[name] for name in ("mask_iou", "depth_ssi_mae")})
    judged = judge_baselines(test, {"mean": baseline})
    assert list(judged) == ["baseline", "metric", "mean", "gain", "low", "high", "is_beaten"]
    differences = test.assign(
        mask_iou=test["mask_iou"] - baseline["mask_iou"],
        depth_ssi_mae=baseline["depth_ssi_mae"] - test["depth_ssi_mae"],
    )
    expected = intervals(differences, ["mask_iou", "depth_ssi_mae"])
    assert judged["metric"].tolist() == ["mask_iou", "depth_ssi_mae"]
    np.testing.assert_allclose(judged["gain"], expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(judged[["low", "high"]], expected[["low", "high"]], rtol=1e-12)
    np.testing.assert_allclose(judged["mean"], baseline.mean(), rtol=1e-12)


def test_a_gain_that_may_be_none_beats_nothing():
    test = table(5, 5)
    judged = judge_baselines(test, {"equal": test[["mask_iou"]]})
    assert judged[["gain", "low", "high", "is_beaten"]].to_numpy().tolist() == [[0, 0, 0, False]]


@pytest.mark.parametrize(("num_places", "num_objects", "is_sure"), [(5, 5, True), (4, 5, False), (5, 4, False)])
def test_an_interval_wants_five_places_and_five_objects(num_places, num_objects, is_sure):
    test = table(num_places, num_objects)
    judged = judge_baselines(test, {"worse": test[["mask_iou"]] - 1})
    assert judged[["low", "high"]].notna().all(axis=None) == is_sure
    assert judged["is_beaten"].tolist() == [is_sure]


def test_baselines_that_are_left_are_named_in_the_order_of_the_table():
    rows = [("b", "mask_iou", False), ("a", "mask_iou", False), ("b", "depth_ssim", False), ("a", "depth_ssim", True)]
    judged = pd.DataFrame(rows, columns=["baseline", "metric", "is_beaten"])
    left = not_beaten(judged)
    assert left == {"mask_iou": ["b", "a"], "depth_ssim": ["b"]}
    assert list(left) == ["mask_iou", "depth_ssim"]


def test_the_details_have_a_name_for_every_number_and_all_baselines_must_be_beaten():
    test = table(5, 5)
    summary = summarise(test, {})
    rows = [("ramp", "mask_iou", 0.25, True), ("mean", "mask_iou", 0.5, False), ("box", "mask_iou", 0.5, True)]
    baselines = pd.DataFrame(rows, columns=["baseline", "metric", "mean", "is_beaten"])
    numbers = detailed_numbers(summary, baselines)
    expected = summary[summary["samples"] == "test"].set_index("metric")
    assert {name: numbers.pop(name) for name in ("ramp_mask_iou", "mean_mask_iou", "box_mask_iou")} == {
        "ramp_mask_iou": 0.25,
        "mean_mask_iou": 0.5,
        "box_mask_iou": 0.5,
    }
    assert numbers.pop("mask_iou_beats_all") is False
    for name in HEADLINE:
        assert numbers.pop(f"{name}_low") == expected.loc[name, "low"]
        assert numbers.pop(f"{name}_high") == expected.loc[name, "high"]
    for cell in ("unseen_background_seen_object", "small"):
        for name in HEADLINE:
            assert numbers.pop(f"{cell}_{name}") == pytest.approx(test[name].mean())
    assert numbers == {}


def test_places_are_tabulated_with_their_samples_and_means():
    test = table(2, 3).drop(index=0)
    places = tabulate_places(test)
    assert list(places) == ["place", "samples", *HEADLINE]
    assert places[["place", "samples"]].to_numpy().tolist() == [[0, 2], [1, 3]]
    assert places.loc[0, "mask_iou"] == pytest.approx(test["mask_iou"].head(2).mean())
    unnamed = tabulate_places(test.rename(columns={"place": "background"}))
    assert unnamed.equals(places)


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
    numbers = headline_numbers(summarise(test, {}), judge_baselines(test, {"few": few, "many": many}))
    assert list(numbers) == ["score", *HEADLINE, *(f"{name}_baseline" for name in HEADLINE)]
    assert numbers["score"] == pytest.approx((numbers["mask_iou"] + numbers["depth_ssim"]) / 2)
    for name in HEADLINE:
        better = many if METRICS[name] == "high" else few
        assert numbers[f"{name}_baseline"] == pytest.approx(better[name].mean())


def test_the_details_are_intervals_baselines_and_whether_they_are_beaten():
    test = table(5, 5)
    worse = pd.DataFrame({"mask_iou": test["mask_iou"] - 0.1, "depth_ssim": test["depth_ssim"] - 0.1})
    equal = pd.DataFrame({"mask_iou": test["mask_iou"]})
    numbers = detailed_numbers(summarise(test, {}), judge_baselines(test, {"ramp": worse, "difference": equal}))
    assert numbers["mask_iou_low"] < test["mask_iou"].mean() < numbers["mask_iou_high"]
    assert numbers["ramp_depth_ssim"] == pytest.approx(test["depth_ssim"].mean() - 0.1)
    assert (numbers["depth_ssim_beats_all"], numbers["mask_iou_beats_all"]) == (True, False)
    few = detailed_numbers(summarise(table(4, 5), {}), judge_baselines(table(4, 5), {}))
    assert "mask_iou_low" not in few


def test_what_was_measured_under_other_conditions_has_rows_and_details_of_its_own():
    test = table(5, 5)
    absent = test.assign(depth_ssim=test["depth_ssim"] - 0.2)
    summary = summarise(test, {"given": test.head(10), "absent": absent})
    rows = summary.set_index(["samples", "metric"])
    assert rows.loc[("given", "mask_iou"), "mean"] == pytest.approx(test["mask_iou"].head(10).mean())
    numbers = detailed_numbers(summary, judge_baselines(test, {}))
    assert numbers["absent_depth_ssim"] == pytest.approx(test["depth_ssim"].mean() - 0.2)
    assert numbers["given_depth_ssim"] == pytest.approx(test["depth_ssim"].head(10).mean())
    assert headline_numbers(summary, judge_baselines(test, {}))["depth_ssim"] == pytest.approx(
        test["depth_ssim"].mean()
    )


def test_pooled_iou_counts_pixels_and_the_mean_counts_samples():
    samples = pd.DataFrame({"mask_intersection": [90, 0], "mask_union": [100, 10]})
    assert pooled_iou(samples) == 90 / 110
    assert pooled_iou(pd.DataFrame({"mask_intersection": [1], "mask_union": [1]})) == 1
    assert pooled_iou(pd.DataFrame({"mask_intersection": [0], "mask_union": [0]})) == 0


def test_cells_say_what_training_saw():
    train = pd.DataFrame({"place": [1], "foreground": [1]})
    held_out = pd.DataFrame({"place": [1, 1, 2, 2], "foreground": [1, 2, 1, 2]})
    assert len(set(assign_cells(held_out, train))) == 4
    without = [each.rename(columns={"place": "background"}) for each in (held_out, train)]
    assert assign_cells(*without).tolist() == [
        "seen_background_seen_object",
        "seen_background_unseen_object",
        "unseen_background_seen_object",
        "unseen_background_unseen_object",
    ]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, ["small"]), (2, ["medium", "small"]), (9, ["large"] * 3 + ["medium"] * 3 + ["small"] * 3)],
)
def test_sizes_are_terciles_however_few_there_are(count, sizes):
    assert assign_sizes(pd.Series(np.linspace(0.3, 0.01, count))).tolist() == sizes


def test_equal_areas_are_shared_out_in_their_order():
    assert assign_sizes(pd.Series([0.5] * 3)).tolist() == ["small", "medium", "large"]


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


def test_the_fixed_samples_are_those_of_the_smallest_checksums_of_the_test_then_of_the_rest():
    splits = ["mixed", "test"] * 10
    samples = scored(np.arange(20.0), range(20), splits)
    fixed = pick_samples(samples, 20)[FIXED]
    mixed = [zlib.crc32(f"s{number}".encode()) for number in range(20)]
    assert fixed == sorted(range(20), key=lambda number: (splits[number] != "test", mixed[number]))
    assert pick_samples(samples, 3)["median"] == [9, 10, 8]


def test_samples_are_ranked_by_both_metrics():
    samples = scored([0.5, 0.4, 0.1], range(3)).assign(depth_ssim=[0.1, 0.4, 0.5])
    assert pick_samples(samples, 1)["best"] == [1]
    assert pick_samples(samples, 3)["worst"] == [0, 2, 1]


def test_every_place_is_shown_before_any_again():
    picked = pick_samples(scored([0.9, 0.8, 0.7, 0.6, 0.5], list("aabbc")), 5)
    assert picked["best"] == [0, 2, 4, 1, 3]


def test_samples_of_many_places_keep_their_order_from_round_to_round():
    """Short lists are sorted by an insertion, which keeps the order whatever it is asked for; long ones are not."""
    scores = np.random.default_rng(0).permutation(200)
    best = pick_samples(scored(scores, [number // 4 for number in range(200)]), 200)["best"]
    in_place = {number: sorted(scores[number // 4 * 4 :][:4], reverse=True) for number in range(200)}
    assert best == sorted(range(200), key=lambda n: (in_place[n].index(scores[n]), -scores[n]))


def test_no_pictures_are_no_pictures():
    assert pick_samples(scored([0.5], ["a"]), 0) == {}
