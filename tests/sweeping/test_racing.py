"""Proves that a race keeps the best, stops what is worse, and ends where more seeds would change nothing."""

import numpy as np
import pytest

from maskdepth.sweeping.racing import FALSE_STOPS, judge

LOOKS = 8


def draw(truth, seeds, rng, noise=0.003):
    """Draw scores: what a combination is worth, a seed's luck that all share, and chance."""
    luck = rng.normal(0, 0.01, seeds)
    return {
        name: dict(enumerate(float(score) for score in worth + luck + rng.normal(0, noise, seeds)))
        for name, worth in truth.items()
    }


def race(truth, rng, seeds=10):
    """Run a whole race on drawn scores; give who was stopped, and how many runs it took."""
    scores, still, lost = draw(truth, seeds, rng), set(truth), set()
    runs = 3 * len(truth)
    for count in range(3, seeds + 1):
        shown = {name: {seed: scores[name][seed] for seed in range(count)} for name in still}
        standing = judge(shown, seeds - 2, len(truth))
        lost |= set(standing.lost)
        still -= set(standing.lost)
        if standing.is_decided:
            break
        runs += len(still)
    return lost, runs


def test_a_race_stops_what_is_worse_and_says_how_much():
    scores = draw({"good": 0.9, "bad": 0.8, "worse": 0.7}, 3, np.random.default_rng(0))
    standing = judge(scores, LOOKS, 3)
    assert standing.leader == "good"
    assert set(standing.lost) == {"bad", "worse"}
    assert standing.lost["bad"] == pytest.approx(0.1, abs=0.01)
    assert standing.is_decided


def test_what_is_as_good_within_the_margin_needs_no_more_seeds():
    seeds = range(40)
    scores = {
        name: {seed: 0.9 + 1e-4 * ((seed * factor) % 7) for seed in seeds} for name, factor in (("a", 1), ("b", 3))
    }
    standing = judge(scores, LOOKS, 2)
    assert (standing.equal, standing.open, standing.lost) == (("b",), (), {}) or standing.equal == ("a",)
    assert standing.is_decided


def test_three_seeds_of_close_combinations_decide_nothing():
    standing = judge(draw({"a": 0.9, "b": 0.897}, 3, np.random.default_rng(1), noise=0.006), LOOKS, 2)
    assert standing.open
    assert not standing.is_decided


def test_the_best_is_stopped_as_rarely_as_is_promised():
    truth = {f"c{number}": 0.9 - 0.002 * number for number in range(8)}
    rng = np.random.default_rng(2)
    stopped = sum("c0" in race(truth, rng)[0] for _ in range(400))
    # A binomial count of 400 at the promised rate exceeds this once in a thousand times.
    assert stopped <= 400 * FALSE_STOPS + 3.1 * (400 * FALSE_STOPS * (1 - FALSE_STOPS)) ** 0.5


def test_a_race_saves_most_runs_where_there_is_something_to_find():
    truth = {"best": 0.9} | {f"c{number}": 0.88 - 0.01 * number for number in range(11)}
    rng = np.random.default_rng(3)
    runs = [race(truth, rng) for _ in range(50)]
    assert all(lost == set(truth) - {"best"} for lost, _ in runs)
    assert np.mean([count for _, count in runs]) < 12 * 10 / 3


def test_an_unsteady_combination_is_not_stopped_by_the_steadiness_of_the_others():
    rng = np.random.default_rng(4)
    stopped = 0
    for _ in range(300):
        scores = draw({"steady": 0.9, "other": 0.9, "third": 0.9}, 4, rng, noise=0.0005)
        scores["wild"] = {seed: float(score) for seed, score in enumerate(rng.normal(0.9, 0.02, 4))}
        stopped += "wild" in judge(scores, LOOKS, 4).lost
    assert stopped <= 300 * FALSE_STOPS


def test_seeds_that_not_all_have_do_not_count():
    scores = {"a": {0: 0.9, 1: 0.9, 2: 0.1}, "b": {0: 0.8, 1: 0.8}}
    assert judge(scores, LOOKS, 2).leader == "a"
    with pytest.raises(ValueError, match="1 seeds are shared"):
        judge({"a": {0: 0.9}, "b": {0: 0.8, 1: 0.8}}, LOOKS, 2)


def test_a_race_of_one_is_decided():
    assert judge({"a": {0: 0.9, 1: 0.8}}, LOOKS, 1).is_decided
