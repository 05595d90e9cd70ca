"""Comparing: what is no better is seldom called better, what is better is found, what is unknown is not claimed."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.simulated import METRICS, World

from maskdepth.comparing.results import ENDPOINTS, LEVEL, Verdict
from maskdepth.comparing.statistics import compare, group_pairs, holm, paired_estimate
from maskdepth.comparing.telling import headline

NUM_PAIRS = 300


def pairs(world, gain, count=NUM_PAIRS):
    """Compare combinations two by two, each pair by itself."""
    table = world.measure({f"{position:03}{side}": side * gain for position in range(count) for side in (0, 1)})
    position = table["combination"].str[:-1]
    return [compare(pair, f"{name}0").answers[0] for name, pair in table.groupby(position)]


def only(metric, gain):
    return np.array([gain if name == metric else 0.0 for name in METRICS])


def share(answers, verdict):
    return sum(answer.verdict is verdict for answer in answers) / len(answers)


def upper_bound(rate, count):
    """The 95 % bound of Clopper and Pearson."""
    return stats.beta.ppf(0.95, round(rate * count) + 1, count - round(rate * count))


@pytest.fixture(scope="module")
def equal_pairs():
    return pairs(World(seeds=5, places=13), 0.0)


@pytest.fixture(scope="module")
def better_pairs():
    return pairs(World(seeds=5, places=13, random_seed=1), np.where(np.array(METRICS) == "mask_iou", 0.015, 0.0))


def test_the_same_combination_is_seldom_called_better_than_itself(equal_pairs):
    found = share(equal_pairs, Verdict.BETTER)
    assert found <= 0.05
    assert upper_bound(found, NUM_PAIRS) <= 0.09


def test_the_same_combination_is_seldom_called_worse_than_itself(equal_pairs):
    assert share(equal_pairs, Verdict.WORSE) <= 0.07


def test_p_is_below_a_twentieth_in_about_a_twentieth_of_equal_pairs(equal_pairs):
    for position in range(len(METRICS)):
        assert np.mean([answer.effects[position].p < 0.05 for answer in equal_pairs]) <= 0.075


def test_the_interval_holds_the_planted_difference(better_pairs):
    held = [answer.effects[0].low <= 0.015 <= answer.effects[0].high for answer in better_pairs]
    assert np.mean(held) >= 0.92


def test_a_planted_difference_is_found_and_never_in_the_wrong_direction(better_pairs):
    assert np.mean([answer.effects[0].is_better for answer in better_pairs]) >= 0.8
    assert not any(answer.effects[0].is_worse for answer in better_pairs)
    assert share(better_pairs, Verdict.WORSE) == 0


def test_a_planted_difference_decides_where_depth_is_measured_well_enough():
    answers = pairs(World(seeds=8, places=60), only("mask_iou", 0.015), 40)
    assert share(answers, Verdict.BETTER) >= 0.8


def test_a_planted_loss_is_called_worse():
    answers = pairs(World(seeds=5, places=30), only("mask_iou", -0.03), 30)
    assert share(answers, Verdict.WORSE) >= 0.7
    assert share(answers, Verdict.BETTER) == 0


def test_the_higher_mean_of_one_seed_is_called_better_far_too_often():
    world = World(seeds=1, places=13, random_seed=3)
    naive = 0
    for _ in range(100):
        table = world.measure({"a": 0.0, "b": 0.0})
        one, other = (table.loc[table["combination"] == name, "mask_iou"].to_numpy() for name in "ab")
        naive += stats.ttest_rel(one, other).pvalue < 0.05
    assert naive >= 20  # of 100, where 5 are allowed; compare() claims nothing of one seed


def test_what_is_visible_is_found_four_times_of_five():
    world = World(seeds=6, places=40, random_seed=5)
    visible = np.median([answer.effects[2].visible for answer in pairs(world, 0.0, 40)])
    found = [answer.effects[2].is_better for answer in pairs(world, only("depth_ssim", visible), 150)]
    assert 0.65 <= np.mean(found) <= 0.95


def test_the_variance_of_a_balanced_table_is_that_of_its_means():
    random = np.random.default_rng(0)
    table = 2 * random.normal(size=(4, 1, 1)) + 2 * random.normal(size=(6, 1)) + random.normal(size=(4, 6, 1))
    table = table + random.normal(size=7) + random.normal(size=(4, 6, 7))  # seeds, places, objects
    found = paired_estimate(table.ravel(), group_pairs(*np.indices(table.shape).reshape(3, -1)))

    def variance(*axes):
        means = table.mean(axes)
        return means.var(ddof=1) / means.size

    scene = max(variance(0, 2) + variance(0, 1) - variance(0), variance(0, 2), variance(0, 1))
    alone = table - table.mean((1, 2), keepdims=True) - table.mean((0, 2), keepdims=True) + table.mean()
    seed_place = np.square(alone.mean(2)).sum() / (3 * 5) / (4 * 6)
    assert found.variance == pytest.approx(variance(1, 2) + scene - seed_place)


def test_equal_combinations_have_no_more_degrees_of_freedom_than_seeds():
    world = World(seeds=3, places=60)
    degrees = []
    for _ in range(50):
        table = world.measure({"a": 0.0})
        groupings = group_pairs(*(table[name].to_numpy() for name in ("seed", "background", "foreground")))
        noise = table["mask_iou"].to_numpy() - np.tile(world.scores[:, 0], 3)
        degrees.append(paired_estimate(noise, groupings).degrees_of_freedom)
    assert np.median(degrees) < 3


def test_holm_equals_the_table_worked_by_hand():
    # Sorted: 0.001 * 5, 0.01 * 4, 0.015 * 3 (both 0.015 share the larger factor's result), 0.2 * 1
    assert holm([0.015, 0.2, 0.001, 0.01, 0.015]) == pytest.approx([0.045, 0.2, 0.005, 0.04, 0.045])


def test_holm_leaves_out_what_was_not_tested():
    found = holm([0.02, np.nan, 0.01])
    assert found[0] == pytest.approx(0.02)
    assert found[2] == pytest.approx(0.02)
    assert np.isnan(found[1])


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lowers_no_p(values):
    found = np.array(holm(values))
    assert (found >= np.array(values)).all()
    assert (found <= 1).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_two_seeds_claim_nothing_however_clear_the_difference():
    answer = compare(World(seeds=2).measure({"a": 0.0, "b": 0.2}), "a").answers[0]
    assert answer.verdict is Verdict.TOO_FEW_SEEDS
    assert answer.sentence == "b cannot be compared with a: they share 2 seeds, and a claim takes 3 seeds"
    assert all(np.isnan([effect.p, effect.holm, effect.low, effect.high]).all() for effect in answer.effects)
    assert answer.effects[0].difference == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(("places", "objects", "lacking"), [(4, 40, "4 places"), (13, 3, "3 objects")])
def test_four_places_or_objects_claim_nothing(places, objects, lacking):
    world = World(places=places, per_place=30, objects=objects)
    answer = compare(world.measure({"a": 0.0, "b": 0.2}), "a").answers[0]
    assert answer.verdict is Verdict.TOO_FEW_GROUPS
    assert lacking in answer.sentence


def test_too_few_seeds_of_one_combination_take_no_power_from_the_others():
    table = World().measure({"a": 0.0, "b": 0.01, "c": 0.0})
    alone = compare(table[table["combination"] != "c"], "a").answers[0]
    beside = compare(table[(table["combination"] != "c") | (table["seed"] < 2)], "a")
    assert next(answer for answer in beside.answers if answer.combination == "b").effects == alone.effects


def test_only_seeds_and_samples_of_both_are_paired():
    table = World(seeds=6).measure({"a": 0.0, "b": 0.01})
    cut = table[
        ~((table["combination"] == "b") & (table["seed"] == 0))
        & ~((table["combination"] == "a") & (table["sample_id"] == 5))
    ]
    expected = table[(table["seed"] > 0) & (table["sample_id"] != 5)]
    assert compare(cut, "a").answers == compare(expected, "a").answers
    assert (compare(cut, "a").answers[0].seeds, compare(cut, "a").answers[0].samples) == (5, 129)


def test_runs_of_other_samples_have_nothing_in_common():
    table = World().measure({"a": 0.0, "b": 0.01})
    table.loc[table["combination"] == "b", "sample_id"] += 1000
    answer = compare(table, "a").answers[0]
    assert answer.verdict is Verdict.TOO_FEW_SEEDS
    assert "no seed and test sample in common" in answer.sentence


def test_a_combination_equal_in_every_number_cannot_be_told_apart():
    table = World().measure({"a": 0.0})
    answer = compare(pd.concat([table, table.assign(combination="b")], ignore_index=True), "a").answers[0]
    assert answer.verdict is Verdict.CANNOT_TELL
    assert {effect.holm for effect in answer.effects} == {1.0}
    assert {effect.places_won for effect in answer.effects} == {0.5}


def test_the_order_of_rows_changes_nothing():
    table = World().measure({"a": 0.0, "b": 0.01, "c": -0.01})
    shuffled = compare(table.sample(frac=1, random_state=0), "a")
    for one, other in zip(compare(table, "a").answers, shuffled.answers, strict=True):
        assert (one.combination, one.verdict, one.sentence) == (other.combination, other.verdict, other.sentence)


def test_swapping_both_combinations_swaps_the_verdict():
    table = World(places=30).measure({"a": 0.0, "b": 0.05})
    forth, back = compare(table, "a").answers[0], compare(table, "b").answers[0]
    assert (forth.verdict, back.verdict) == (Verdict.BETTER, Verdict.WORSE)
    for one, other in zip(forth.effects, back.effects, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.p == pytest.approx(other.p)


def test_a_lower_error_is_better():
    table = World(places=30).measure({"a": 0.0, "b": only("depth_ssi_mae", 0.05)})
    effect = compare(table, "a").answers[0].effects[METRICS.index("depth_ssi_mae")]
    assert effect.difference < 0
    assert effect.is_better
    assert effect.places_won > 0.9


def test_a_clear_gain_beside_a_clear_loss_is_mixed():
    gains = np.where([endpoint.target == "mask" for endpoint in ENDPOINTS], 0.05, -0.05)
    answer = compare(World(places=30).measure({"a": 0.0, "b": gains}), "a").answers[0]
    assert answer.verdict is Verdict.MIXED
    assert "b is better than a in mask IoU by" in answer.sentence
    assert "it is worse in depth SSIM by" in answer.sentence


def test_a_gain_is_not_better_when_another_endpoint_seems_worse_by_more_than_its_margin():
    world = World(places=13)
    table = world.measure({"a": 0.0, "b": only("mask_iou", 0.05)})
    is_candidate = table["combination"] == "b"
    # A loss that only a few places have is not shown, and yet too large to be passed over.
    table.loc[is_candidate & (table["background"] < 2), "depth_ssim"] -= 0.2
    answer = compare(table, "a").answers[0]
    assert answer.verdict is Verdict.MIXED
    assert "against that speaks, without being shown, depth SSIM" in answer.sentence


def test_the_sentence_says_how_much_and_what_would_have_been_seen():
    table = World(seeds=8, places=60, random_seed=4).measure({"bce|ssim": 0.0, "dice|ssim": only("mask_iou", 0.015)})
    answer = compare(table, "bce|ssim").answers[0]
    effects = {effect.endpoint.metric: effect for effect in answer.effects}
    low, high = (f"{100 * end:.1f}" for end in (effects["mask_iou"].low, effects["mask_iou"].high))
    assert answer.sentence == (
        f"dice|ssim is better than bce|ssim in mask IoU by {low} to {high} points; in depth they cannot be told apart; "
        f"a difference of {100 * effects['depth_ssim'].visible:.1f} points in depth SSIM would have been seen"
    )


def test_a_difference_larger_than_there_can_be_is_not_said_to_have_been_visible():
    table = World(seeds=3, places=5).measure({"a": 0.0, "b": 0.0})
    is_candidate = table["combination"] == "b"
    table.loc[is_candidate, "depth_ssim"] += np.where(table.loc[is_candidate, "background"] % 2, 0.9, -0.9)
    sentence = compare(table, "a").answers[0].sentence
    assert sentence.endswith(
        "in depth they cannot be told apart; so few seeds and places would have shown no difference in depth SSIM"
    )


def test_the_better_ones_come_first_and_the_headline_names_them():
    table = World(seeds=8, places=60).measure({"a": 0.0, "b": -0.03, "c": 0.03, "d": 0.0})
    found = compare(table, "a")
    assert [answer.combination for answer in found.answers][0::2] == ["c", "b"]
    assert headline(found).startswith("1 of 3 combinations is better than a: c.")
    assert headline(compare(table[table["combination"] != "c"], "a")).startswith(
        "None of 2 combinations is shown to be"
    )
    alone = compare(table[table["combination"].isin(["a", "b"])], "a")
    assert headline(alone) == f"{alone.answers[0].sentence}."
    assert "nothing to compare" in headline(compare(table[table["combination"] == "a"], "a"))


def test_a_headline_names_five_and_counts_the_others():
    table = World(places=20).measure({"a": 0.0} | {f"b{number}": 0.1 for number in range(7)})
    assert re.fullmatch(
        r"7 of 7 combinations are better than a: (b\d, ){4}b\d and 2 more\.", headline(compare(table, "a"))
    )


def test_more_combinations_make_a_claim_harder():
    table = World().measure({name: 0.0 for name in "abcdef"})
    few, many = compare(table[table["combination"].isin(["a", "b"])], "a"), compare(table, "a")
    one, other = few.answers[0], next(answer for answer in many.answers if answer.combination == "b")
    assert all(e.visible < o.visible and e.holm <= o.holm for e, o in zip(one.effects, other.effects, strict=True))


def test_the_claims_of_all_endpoints_together_stay_within_what_is_allowed():
    assert LEVEL / 2 * sum(endpoint.is_primary for endpoint in ENDPOINTS) == pytest.approx(0.05)


def test_older_tables_are_judged_by_what_they_have():
    table = World().measure({"a": 0.0, "b": 0.01})
    table = table.rename(columns={"mask_iou": "mask_iou"}).drop(columns=["depth_ssi_mae", "depth_mae_foreground"])
    assert [endpoint.metric for endpoint in compare(table, "a").endpoints] == [
        "mask_iou", "mask_boundary_iou", "depth_ssim", "depth_mae",
    ]  # fmt: skip


def test_a_metric_that_some_runs_lack_claims_nothing_of_them():
    table = World().measure({"a": 0.0, "b": 0.05, "c": 0.05})
    table.loc[table["combination"] == "b", "depth_ssim"] = np.nan
    answers = {answer.combination: answer for answer in compare(table, "a").answers}
    assert np.isnan(answers["b"].effects[2].holm)
    assert answers["b"].verdict is Verdict.MIXED
    assert "against that speaks, without being shown, depth SSIM, which one of them lacks" in answers["b"].sentence
    assert answers["c"].effects[2].is_better


def test_a_head_that_was_not_measured_is_not_called_equal():
    table = World().measure({"a": 0.0, "b": 0.0})
    table.loc[table["combination"] == "b", ["depth_ssim", "depth_ssi_mae"]] = np.nan
    sentence = compare(table, "a").answers[0].sentence
    assert sentence.endswith("of the depth nothing can be said, as one of them lacks depth SSIM")


def test_means_have_the_control_first_and_every_endpoint():
    found = compare(World().measure({"b": 0.0, "a": 0.0}), "b").means
    assert found["combination"].unique().tolist() == ["b", "a"]
    assert len(found) == 2 * len(ENDPOINTS)
    assert (found["low"] < found["mean"]).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="seed"), "no column seed; expected combination, seed, sample_id, background"),
        (lambda table: table.assign(combination="dice|sim"), "no run has the combination 'a'; known: dice"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "a has sample 0 twice with seed 0; keep one run"),
        (lambda table: table.assign(background=table["background"] + (table["combination"] == "b")), "different data"),
        (lambda table: table.drop(columns=METRICS), "none of the metrics mask_iou"),
    ],
)
def test_a_table_without_pairs_is_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        compare(spoil(World(seeds=3).measure({"a": 0.0, "b": 0.0})), "a")


def test_a_control_that_is_nearly_spelled_right_is_suggested():
    with pytest.raises(ValueError, match=r"did you mean dice\|ssim\?"):
        compare(World(seeds=3).measure({"dice|ssim": 0.0}), "dice|sim")
