"""Which combination of losses is better than another, and how sure that is: paired differences to one control.

Pure: a table of samples in, answers out. Two runs with one seed start from the same weights and see the samples in the
same order, and both are measured on the same samples. So it is the differences that are looked at, and whatever makes a
seed lucky or a sample hard falls out of them. What is left differs between seeds, places and objects, and each of these
is counted as what it is: a few of many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.comparing.results import (
    ENDPOINTS,
    FEWEST_SEEDS,
    LEVEL,
    Answer,
    Comparison,
    Counts,
    Effect,
    Endpoint,
    Verdict,
)
from maskdepth.comparing.telling import tell
from maskdepth.evaluation.intervals import (
    CONFIDENCE,
    Codes,
    Estimate,
    Grouping,
    Values,
    cross,
    crossed_estimate,
    group,
    place_column,
    satterthwaite,
    t_quantile,
    t_tail,
)
from maskdepth.process.console import suggest

# Of the smallest difference that would have been seen: how often it would have been.
POWER = 0.8
# What nobody trains.
MOST_SEEDS = 50


@dataclass(frozen=True)
class _Measured:
    """All samples of a table or of a part of it, numbered: one entry per combination, seed and sample.

    Attributes:
        seeds: (N,) number of the seed.
        samples: (N,) number of the sample.
        places: (N,) number of its place.
        objects: (N,) number of its object.
        values: (N, M) metrics.
    """

    seeds: Codes
    samples: Codes
    places: Codes
    objects: Codes
    values: Values

    def take(self, rows: Codes) -> "_Measured":
        """Keep some entries, by their positions."""
        return _Measured(self.seeds[rows], self.samples[rows], self.places[rows], self.objects[rows], self.values[rows])


def compare(samples: pd.DataFrame, control: str) -> Comparison:
    """Compare every combination with the control, on the seeds and samples that both have.

    "Better" is one primary endpoint shown to be better, by Holm's p over the combinations below `LEVEL`, and none of
    all endpoints worse by more than its margin; "worse" is its mirror image; where one endpoint is shown to differ and
    another speaks against it, the verdict is "mixed". Nothing is claimed from fewer than three shared seeds, five
    places or five objects.

    Args:
        samples: One row per combination, seed and test sample: `combination`, `seed`, `sample_id`, `place` (where it is
            missing, `background`), `foreground` and the metrics.
        control: The combination that the others are compared with.

    Raises:
        ValueError: A column is missing, the control is unknown, a sample occurs twice in one run, or one sample has
            several places or objects, as when data sets were mixed.
    """
    endpoints = _choose_endpoints(samples)
    _check(samples, control)
    parts = _number(samples, endpoints)
    measured = {name: _measure(part, parts[control], endpoints) for name, part in parts.items() if name != control}
    corrected = _judge(measured, endpoints)
    answers = [_answer(name, control, measured[name].counts, effects) for name, effects in corrected.items()]
    answers.sort(key=_rank)
    order = [control, *(answer.combination for answer in answers)]
    means = _tabulate_means({name: parts[name] for name in order}, endpoints)
    return Comparison(control, endpoints, tuple(answers), means)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number; NaN stays NaN and does not count.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]

    Reference:
        Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN is sorted last
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return [float(value) for value in corrected]


class Groupings(NamedTuple):
    """In what ways paired samples belong together.

    Attributes:
        seed: By the seed of their runs.
        place: By their places.
        thing: By their objects.
        cell: By both.
        seed_place: By seed and place; its correction is for what is left when both are taken off.
    """

    seed: Grouping
    place: Grouping
    thing: Grouping
    cell: Grouping
    seed_place: Grouping


def group_pairs(seeds: Codes, places: Codes, things: Codes) -> Groupings:
    """Group paired samples, (N,) each, in all ways that a comparison needs."""
    seed, place, thing = group(seeds), group(places), group(things)
    seed_place = replace(cross(seed, place), correction=seed.correction * place.correction)
    return Groupings(seed, place, thing, cross(place, thing), seed_place)


def paired_estimate(differences: Values, by: Groupings) -> Estimate:
    """Estimate a mean difference over seeds, places and objects that are a few of many.

    Var = V_seed + V_scene - V_seed_place, with V_scene = V_place + V_object - V_cell as of `crossed_estimate`; with
    every sample in every seed that is s2_seed / S + s2_place / P + s2_object / O - s2 / n. What a seed does to one
    place only is in both of the first terms, hence the third: of two equal combinations V_scene has nothing else.
    The degrees of freedom are those of V_seed and of what is left of V_scene. Without that a V_seed that is small by
    chance, as one of three seeds often is, would seem to be as sure as V_scene.

    Where the difference falls below V_scene, or V_scene below V_seed_place, chance has done it, and the larger part is
    taken.

    Args:
        differences: (N,) one number per paired seed and sample.
        by: Their groupings.
    """
    return _take_apart(differences, by).with_seeds(by.seed.count)


def seeds_needed(samples: pd.DataFrame, control: str, combination: str, metric: str) -> int | None:
    """Say how many shared seeds would show a difference as large as it seems to be, four times of five.

    More seeds take away what differs from seed to seed, and nothing of what differs between places and objects.

    Args:
        samples: As for `compare`.
        control: What the other is compared with.
        combination: The other.
        metric: By which.

    Returns:
        How many in all, at least as many as a claim takes; None where `MOST_SEEDS` would not do.
    """
    endpoints = tuple(endpoint for endpoint in ENDPOINTS if endpoint.metric == metric)
    parts = _number(samples, endpoints)
    paired, differences = _pair(parts[combination], parts[control])
    if len(np.unique(paired.seeds)) < FEWEST_SEEDS:  # of two nobody knows how much seeds differ
        return FEWEST_SEEDS
    by = group_pairs(paired.seeds, paired.places, paired.objects)
    apart = _take_apart(differences[:, 0], by)
    for count in range(by.seed.count + 1, MOST_SEEDS + 1):
        estimate = apart.with_seeds(count)
        if abs(estimate.mean) >= _visible(estimate, num_tests=1):
            return count
    return None


class _Parts(NamedTuple):
    """What the variance of a mean difference over seeds, places and objects consists of.

    Attributes:
        scene: The mean, and its variance over places and objects, with these seeds.
        by_seed: Its variance over seeds.
        lasting: What of the variance over places and objects more seeds would not take away.
        seed: The seeds.
    """

    scene: Estimate
    by_seed: float
    lasting: float
    seed: Grouping

    def with_seeds(self, count: int) -> Estimate:
        """Give the estimate, or what it would be of another number of seeds."""
        share = self.seed.count / count
        by_seed, degrees = share * self.by_seed, self.seed.degrees_of_freedom + count - self.seed.count
        scene = self.scene.variance - (1 - share) * (self.scene.variance - self.lasting)
        parts = ((by_seed, degrees), (self.lasting, self.scene.degrees_of_freedom))
        variance = max(by_seed + self.lasting, scene)
        return Estimate(self.scene.mean, variance, satterthwaite(by_seed + self.lasting, parts))


def _take_apart(differences: Values, by: Groupings) -> _Parts:
    """Take the variance of the mean of differences (N,) apart; see `paired_estimate`."""
    scene = crossed_estimate(differences, by.place, by.thing, by.cell)
    by_seed = by.seed.variance(differences - scene.mean)
    alone = differences - by.seed.means(differences) - by.place.means(differences) + scene.mean
    lasting = max(scene.variance - by.seed_place.variance(alone), 0.0)  # NaN where there is one place
    return _Parts(scene, by_seed, lasting, by.seed)


def _choose_endpoints(samples: pd.DataFrame) -> tuple[Endpoint, ...]:
    """Take the endpoints that were measured."""
    chosen = tuple(endpoint for endpoint in ENDPOINTS if endpoint.metric in samples)
    if not any(endpoint.is_primary for endpoint in chosen):
        wanted = ", ".join(endpoint.metric for endpoint in ENDPOINTS if endpoint.is_primary)
        raise ValueError(f"the table of samples has none of the metrics {wanted}; run `dvc repro`, which measures them")
    return chosen


def _check(samples: pd.DataFrame, control: str) -> None:
    """Refuse a table from which no pairs can be made."""
    place = place_column(samples)
    columns = ["combination", "seed", "sample_id", place, "foreground"]
    if missing := [name for name in columns if name not in samples]:
        raise ValueError(f"the table of samples has no column {', '.join(missing)}; expected {', '.join(columns)}")
    known = [str(name) for name in samples["combination"].unique()]
    if control not in known:
        raise ValueError(f"no run has the combination {control!r}; {suggest(control, sorted(known))}")
    twice = samples.duplicated(["combination", "seed", "sample_id"])
    if twice.any():
        first = samples.loc[twice, columns].iloc[0]
        raise ValueError(
            f"{first['combination']} has sample {first['sample_id']} twice with seed {first['seed']}; "
            "keep one run of each combination and seed"
        )
    for column in (place, "foreground"):
        pairs = samples[["sample_id", column]].drop_duplicates()
        several = pairs["sample_id"].duplicated()
        if several.any():
            name = pairs.loc[several, "sample_id"].iloc[0]
            raise ValueError(
                f"sample {name} has several values of {column}: the runs are of different data; compare those of one"
            )


def _number(samples: pd.DataFrame, endpoints: tuple[Endpoint, ...]) -> dict[str, _Measured]:
    """Number everything once, and take the table apart by combination."""
    columns = ("seed", "sample_id", place_column(samples), "foreground")
    codes = [pd.factorize(samples[column], use_na_sentinel=False)[0] for column in columns]
    values = samples[[endpoint.metric for endpoint in endpoints]].to_numpy(float)
    measured = _Measured(codes[0], codes[1], codes[2], codes[3], values)
    groups = samples.groupby("combination", sort=True).indices
    return {str(name): measured.take(np.asarray(rows)) for name, rows in groups.items()}


class _Differences(NamedTuple):
    """Paired differences of one combination to the control.

    Attributes:
        counts: Of what they are made.
        estimates: One for each endpoint.
        places_won: Likewise, share of the places.
    """

    counts: Counts
    estimates: list[Estimate]
    places_won: list[float]


def _measure(part: _Measured, control: _Measured, endpoints: tuple[Endpoint, ...]) -> _Differences:
    """Pair by seed and sample, and estimate the mean difference by each endpoint."""
    paired, pairs = _pair(part, control)
    if not len(pairs):
        nothing = Estimate(np.nan, np.nan, np.nan)
        return _Differences(Counts(0, 0, 0, 0), [nothing] * len(endpoints), [np.nan] * len(endpoints))
    differences = pairs.T
    by = group_pairs(paired.seeds, paired.places, paired.objects)
    counts = Counts(by.seed.count, len(np.unique(paired.samples)), by.place.count, by.thing.count)
    estimates = [paired_estimate(values, by) for values in differences]
    gains = [endpoint.gain(1.0) * values for endpoint, values in zip(endpoints, differences, strict=True)]
    return _Differences(counts, estimates, [_share_won(values, by.place) for values in gains])


def _pair(part: _Measured, control: _Measured) -> tuple[_Measured, Values]:
    """Give the entries of one that the other has too, by seed and sample, and the differences (N, M)."""
    width = max(part.samples.max(), control.samples.max()) + 1
    keys, control_keys = (each.seeds * width + each.samples for each in (part, control))
    _, rows, control_rows = np.intersect1d(keys, control_keys, assume_unique=True, return_indices=True)
    paired = part.take(rows)
    return paired, paired.values - control.values[control_rows]


def _share_won(gains: Values, place: Grouping) -> float:
    sums = np.bincount(place.codes, gains, place.count)
    return float((sums > 0).mean() + (sums == 0).mean() / 2)


def _judge(measured: dict[str, _Differences], endpoints: tuple[Endpoint, ...]) -> dict[str, tuple[Effect, ...]]:
    """Test every difference of which something can be claimed, and correct for how many combinations there are."""
    columns = []
    for position, endpoint in enumerate(endpoints):
        estimates = [each.estimates[position] for each in measured.values()]
        tested = [each.counts.bear_a_claim for each in measured.values()]
        p_values = [
            _p_value(estimate) if is_tested else np.nan for estimate, is_tested in zip(estimates, tested, strict=True)
        ]
        corrected = holm(p_values)
        num_tests = int(np.isfinite(corrected).sum())
        column = []
        for each, estimate, p, p_holm in zip(measured.values(), estimates, p_values, corrected, strict=True):
            won = each.places_won[position]
            low, high = estimate.interval(CONFIDENCE) if np.isfinite(p) else (np.nan, np.nan)
            visible = _visible(estimate, num_tests) if np.isfinite(p) else np.nan
            column.append(Effect(endpoint, estimate.mean, low, high, p, p_holm, won, visible))
        columns.append(column)
    return {name: effects for name, effects in zip(measured, zip(*columns, strict=True), strict=True)}


def _p_value(estimate: Estimate) -> float:
    """Test that there is no difference; two combinations with the same numbers throughout have none."""
    if estimate.variance == 0:
        return float(estimate.mean == 0)
    return t_tail(estimate.mean / estimate.error, estimate.degrees_of_freedom)


def _visible(estimate: Estimate, num_tests: int) -> float:
    """Give the smallest difference that the strictest step of Holm's correction sees with the power asked for."""
    level = 1 - LEVEL / (2 * num_tests)
    degrees = estimate.degrees_of_freedom
    return (t_quantile(level, degrees) + t_quantile(POWER, degrees)) * estimate.error


def _answer(name: str, control: str, counts: Counts, effects: tuple[Effect, ...]) -> Answer:
    verdict = _decide(counts, effects)
    return Answer(name, verdict, tell(name, control, counts, verdict, effects), *counts, effects)


def _decide(counts: Counts, effects: tuple[Effect, ...]) -> Verdict:
    if counts.seeds < FEWEST_SEEDS:
        return Verdict.TOO_FEW_SEEDS
    if not counts.bear_a_claim:
        return Verdict.TOO_FEW_GROUPS
    primary = [effect for effect in effects if effect.endpoint.is_primary]
    is_better, is_worse = any(effect.is_better for effect in primary), any(effect.is_worse for effect in primary)
    if not (is_better or is_worse):
        return Verdict.CANNOT_TELL
    gains = [(effect.endpoint.gain(effect.difference), effect.endpoint.margin) for effect in effects]
    # What was not measured may be anything: it speaks against either verdict.
    speaks_against = any(np.isnan(gain) or gain < -margin for gain, margin in gains)
    speaks_for = any(np.isnan(gain) or gain > margin for gain, margin in gains)
    if is_better and not (is_worse or speaks_against):
        return Verdict.BETTER
    if is_worse and not (is_better or speaks_for):
        return Verdict.WORSE
    return Verdict.MIXED


def _rank(answer: Answer) -> tuple[int, float]:
    """Put the verdicts in order, and in one of them the larger gain in the first endpoint before the smaller."""
    first = answer.effects[0]
    gain = first.endpoint.gain(first.difference)
    return list(Verdict).index(answer.verdict), -gain if np.isfinite(gain) else np.inf


def _tabulate_means(parts: dict[str, _Measured], endpoints: tuple[Endpoint, ...]) -> pd.DataFrame:
    """Give each combination's own means; their intervals overlap where a paired difference is clear."""
    rows = []
    for name, part in parts.items():
        by = group_pairs(part.seeds, part.places, part.objects)
        counts = Counts(by.seed.count, len(part.samples), by.place.count, by.thing.count)
        for endpoint, values in zip(endpoints, part.values.T, strict=True):
            estimate = paired_estimate(values, by)
            low, high = estimate.interval(CONFIDENCE) if counts.bear_a_claim else (np.nan, np.nan)
            rows.append((name, endpoint.metric, estimate.mean, low, high, by.seed.count))
    return pd.DataFrame(rows, columns=["combination", "metric", "mean", "low", "high", "seeds"])
