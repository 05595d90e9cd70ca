"""A ruling: better in what was asked for and worse in nothing, or why not, and how many seeds might decide."""

import re

import numpy as np
import pytest
from support.simulated import World

from maskdepth.comparing.promotion import choose_metrics, describe, number, rule
from maskdepth.comparing.statistics import MOST_SEEDS, compare, seeds_needed

CHAMPION = "bce|ssim"
# By metric: the mask's two, SSIM, then three errors.
BETTER, MASK_ALONE = np.full(6, 0.06), np.array([0.06, 0.06, 0, 0, 0, 0])
TRADE, LOSS_ASIDE = np.array([0.06, 0.06, -0.1, 0, 0, 0]), np.array([0.06, 0.06, 0.06, 0.06, -0.02, 0.06])


def measure(gain, **world):
    return World(**({"seeds": 3, "places": 30} | world)).measure({CHAMPION: 0.0, "dice|ssim": gain})


def judge(gain, metric="score", **world):
    samples = measure(gain, **world)
    return rule(compare(samples, CHAMPION), samples, metric)


@pytest.mark.parametrize("gain", [BETTER, MASK_ALONE])
def test_better_in_one_part_of_the_score_and_worse_in_nothing_is_enough(gain):
    ruling = judge(gain, seeds=8, places=60)
    assert ruling.is_better
    assert ruling.sentence.startswith("dice|ssim is better in mask IoU (+")
    assert ruling.sentence.endswith("; worse in nothing")


def test_what_gains_in_one_and_loses_in_another_is_refused_by_both():
    ruling = judge(TRADE)
    assert not ruling.is_better
    assert "is better in mask IoU (+" in ruling.sentence
    assert "; but worse in depth SSIM (-" in ruling.sentence


def test_an_endpoint_that_is_not_primary_can_only_speak_against():
    ruling = judge(LOSS_ASIDE)
    assert not ruling.is_better
    assert "depth MAE (+" in ruling.sentence


def test_only_what_was_asked_for_makes_better():
    assert not judge(MASK_ALONE, "depth_ssim", seeds=8, places=60).is_better
    assert judge(MASK_ALONE, "mask_iou", seeds=8, places=60).is_better


def test_what_was_not_measured_speaks_against():
    samples = measure(BETTER).assign(depth_mae=np.nan)
    ruling = rule(compare(samples, CHAMPION), samples, "score")
    assert not ruling.is_better
    assert ruling.sentence.endswith("against it speaks, without being shown, depth MAE (not measured)")


def test_too_few_seeds_say_how_many_it_takes():
    ruling = judge(BETTER, seeds=2)
    assert (ruling.is_better, ruling.sentence.partition(": ")[2]) == (
        False,
        "they share 2 seeds, and a claim takes 3 seeds",
    )


def test_what_cannot_be_told_says_how_many_more_seeds_might_decide():
    ruling = judge(0.008)
    assert not ruling.is_better
    assert "is not shown to be better in mask IoU (" in ruling.sentence
    assert re.search(r"; \d+ more seeds? of both might decide", ruling.sentence)
    assert "50 seeds would not show so little on these test places" in judge(0.0005).sentence


def test_more_seeds_are_needed_for_less_and_none_suffice_for_nothing():
    counts = [
        seeds_needed(measure(gain), CHAMPION, "dice|ssim", "mask_iou") or MOST_SEEDS + 1 for gain in (0.005, 0.02, 0.2)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 4  # what is shown already is shown by one more
    assert seeds_needed(measure(BETTER, seeds=2), CHAMPION, "dice|ssim", "mask_iou") == 3


def test_so_many_seeds_as_it_says_show_it_most_of_the_time():
    shown = []
    for random_seed in range(10):
        wanted = seeds_needed(measure(0.012, random_seed=random_seed), CHAMPION, "dice|ssim", "mask_iou")
        seeds = min(wanted or 20, 20)
        shown.append(judge(0.012, "mask_iou", seeds=seeds, random_seed=100 + random_seed).answer.effects[0].is_better)
    assert sum(shown) >= 5  # four of five if the difference is what it seemed to be, which it seldom is


def test_the_numbers_of_a_ruling_can_be_read_and_found():
    ruling = judge(BETTER)
    table = describe(ruling).splitlines()
    assert table[0] == "| metric | minus the champion [95 %] | p |"
    assert table[2].startswith("| mask IoU | +")
    assert len(table) == 2 + 6 + 2
    assert table[-1] == "Paired over 3 seeds, 300 test samples, 30 places, 40 objects."
    known = number(ruling)
    assert (known["seeds"], known["places"], known["objects"]) == ("3", "30", "40")
    assert known["mask_iou"].endswith("p <0.001")


def test_a_metric_that_nothing_is_judged_by_is_refused():
    assert choose_metrics("score") == ("mask_iou", "depth_ssim")
    with pytest.raises(ValueError, match=r"--metric depth_rmse: .*known: score, mask_iou"):
        choose_metrics("depth_rmse")
