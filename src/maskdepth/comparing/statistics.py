"""Which combination of losses is better than another, and how sure that is: paired differences to one control.

Pure: a table of samples in, answers out. Two runs with one seed start from the same weights and see the samples in the
same order, and both are measured on the same samples. So it is the differences that are looked at, and whatever makes a
seed lucky or a sample hard falls out of them. What is left differs between seeds, places and objects, and each of these
is counted as what it is: a few of many.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from maskdepth.evaluation.intervals import (
    CONFIDENCE,
    FEWEST_GROUPS,
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

FEWEST_SEEDS = 3
# Of the smallest difference that would have been seen: how often it would have been.
POWER = 0.8
# How often a combination that is no better may be called better: all primary endpoints together.
FALSE_CLAIMS = 0.05
# Of the better ones, in the headline.
_MOST_NAMED = 5

Target = Literal["mask", "depth"]


class Endpoint(NamedTuple):
    """One metric that combinations are judged by; all were fixed before any result was seen.

    Attributes:
        metric: Its column.
        title: What a reader calls it.
        target: Which of both heads it judges.
        is_higher_better: Its direction.
        margin: How much worse is no matter.
        is_primary: Whether it can make a combination better or worse; the others can only speak against that.
        is_share: Whether differences are told in points, hundredths.
    """

    metric: str
    title: str
    target: Target
    is_higher_better: bool
    margin: float
    is_primary: bool
    is_share: bool

    def gain(self, difference: float) -> float:
        """Turn a difference so that more is better."""
        return difference if self.is_higher_better else -difference


ENDPOINTS = (
    Endpoint("mask_iou_tuned", "mask IoU", "mask", True, 0.005, True, True),
    Endpoint("mask_boundary_iou", "boundary IoU", "mask", True, 0.005, True, True),
    Endpoint("depth_ssim", "depth SSIM", "depth", True, 0.01, True, True),
    Endpoint("depth_ssi_mae", "depth SSI-MAE", "depth", False, 0.005, True, False),
    Endpoint("depth_mae", "depth MAE", "depth", False, 0.005, False, False),
    Endpoint("depth_mae_foreground", "depth MAE on the object", "depth", False, 0.005, False, False),
)
# Two-sided, for each of them: on the better side each has half of it, and all halves add up to what is allowed at most.
LEVEL = 2 * FALSE_CLAIMS / sum(endpoint.is_primary for endpoint in ENDPOINTS)
# What stands in for a metric that rows of an older version lack.
_FALLBACKS = {"mask_iou_tuned": "mask_iou"}


class Verdict(StrEnum):
    """What can be said of a combination against the control, in the order in which a reader wants them."""

    BETTER = "better"
    MIXED = "mixed"
    CANNOT_TELL = "cannot tell"
    WORSE = "worse"
    TOO_FEW_SEEDS = "too few seeds"
    TOO_FEW_GROUPS = "too few groups"


class Effect(NamedTuple):
    """The difference of one combination to the control by one endpoint, not turned: below 0 is lower.

    Attributes:
        endpoint: The metric.
        difference: Mean over paired seeds and samples.
        low: Lower end of its 95 % interval; NaN where nothing is claimed.
        high: Upper end.
        p: Two-sided p of the t test; NaN where nothing is claimed.
        holm: The same after Holm's correction over all combinations; NaN likewise.
        places_won: Share of the places where the mean is on the better side, [0, 1]; a tie counts half.
        visible: The smallest difference that would have been seen four times of five.
    """

    endpoint: Endpoint
    difference: float
    low: float
    high: float
    p: float
    holm: float
    places_won: float
    visible: float

    @property
    def is_better(self) -> bool:
        """Whether the combination is shown to be better by this endpoint."""
        return self.holm < LEVEL and self.endpoint.gain(self.difference) > 0

    @property
    def is_worse(self) -> bool:
        """Whether the combination is shown to be worse by this endpoint."""
        return self.holm < LEVEL and self.endpoint.gain(self.difference) < 0


class Answer(NamedTuple):
    """What can be said of one combination.

    Attributes:
        combination: Its name.
        verdict: In a word or two.
        sentence: In one sentence.
        seeds: Seeds that it shares with the control.
        samples: Test samples that both were measured on.
        places: Groups of those samples.
        objects: Likewise.
        effects: One for each endpoint.
    """

    combination: str
    verdict: Verdict
    sentence: str
    seeds: int
    samples: int
    places: int
    objects: int
    effects: tuple[Effect, ...]


class Comparison(NamedTuple):
    """All combinations against one control.

    Attributes:
        control: Its name.
        endpoints: What was measured.
        answers: One for each other combination, the better ones first.
        means: One row per combination and metric: `combination`, `metric`, `mean`, `low`, `high`, `seeds`; the control
            comes first, the others in the order of the answers.
    """

    control: str
    endpoints: tuple[Endpoint, ...]
    answers: tuple[Answer, ...]
    means: pd.DataFrame


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


def paired_estimate(differences: Values, seed: Grouping, place: Grouping, thing: Grouping, cell: Grouping) -> Estimate:
    """Estimate a mean difference over seeds, places and objects that are a few of many.

    Var = V_seed + (V_place + V_object - V_cell); with every sample in every seed that is
    s2_seed / S + s2_place / P + s2_object / O - s2 / n. What a seed does to one place only is in two of these parts and
    is not taken off again: of three seeds nothing can be estimated well enough for that, and so it errs to the wide
    side.

    Args:
        differences: (N,) one number per paired seed and sample.
        seed: Their seeds.
        place: Their places.
        thing: Their objects.
        cell: Places and objects crossed.
    """
    scene = crossed_estimate(differences, place, thing, cell)
    by_seed = seed.variance(differences - scene.mean)
    variance = by_seed + scene.variance
    parts = ((by_seed, seed.degrees_of_freedom), (scene.variance, scene.degrees_of_freedom))
    return Estimate(scene.mean, variance, satterthwaite(variance, parts))


def headline(comparison: Comparison) -> str:
    """Say in one or two sentences what came out.

    Among several that are better none is called the best: to take the largest difference is to take the luckiest.
    """
    control, total = comparison.control, len(comparison.answers)
    if not total:
        return f"There is only {control}: nothing to compare it with."
    named: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for answer in comparison.answers:
        named[answer.verdict].append(answer.combination)
    better = named.pop(Verdict.BETTER)
    rest = "; ".join(f"{len(names)} {verdict}" for verdict, names in named.items() if names)
    of_all = f"of {total} combination{'s' if total > 1 else ''}"
    if better:
        verb = "is" if len(better) == 1 else "are"
        return f"{len(better)} {of_all} {verb} better than {control}: {', '.join(better)}." + (
            f" {_upper(rest)}." if rest else ""
        )
    return f"None {of_all} is shown to be better than {control}. {_upper(rest)}."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _choose_endpoints(samples: pd.DataFrame) -> tuple[Endpoint, ...]:
    """Take the endpoints that were measured, with what stands in for the others."""
    chosen = []
    for endpoint in ENDPOINTS:
        metric = endpoint.metric if endpoint.metric in samples else _FALLBACKS.get(endpoint.metric, "")
        if metric in samples:
            chosen.append(endpoint._replace(metric=metric))
    if not any(endpoint.is_primary for endpoint in chosen):
        wanted = ", ".join(endpoint.metric for endpoint in ENDPOINTS if endpoint.is_primary)
        raise ValueError(f"the table of samples has none of the metrics {wanted}; run `dvc repro`, which measures them")
    return tuple(chosen)


def _check(samples: pd.DataFrame, control: str) -> None:
    """Refuse a table from which no pairs can be made."""
    place = place_column(samples)
    columns = ["combination", "seed", "sample_id", place, "foreground"]
    if missing := [name for name in columns if name not in samples]:
        raise ValueError(f"the table of samples has no column {', '.join(missing)}; expected {', '.join(columns)}")
    known = [str(name) for name in samples["combination"].unique()]
    if control not in known:
        near = difflib.get_close_matches(control, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"no run has the combination {control!r}; {hint}known: {', '.join(sorted(known))}")
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


class _Counts(NamedTuple):
    """Of what was paired."""

    seeds: int
    samples: int
    places: int
    objects: int

    @property
    def bear_a_claim(self) -> bool:
        return self.seeds >= FEWEST_SEEDS and min(self.places, self.objects) >= FEWEST_GROUPS


class _Differences(NamedTuple):
    """Paired differences of one combination to the control.

    Attributes:
        counts: Of what they are made.
        estimates: One for each endpoint.
        places_won: Likewise, share of the places.
    """

    counts: _Counts
    estimates: list[Estimate]
    places_won: list[float]


def _measure(part: _Measured, control: _Measured, endpoints: tuple[Endpoint, ...]) -> _Differences:
    """Pair by seed and sample, and estimate the mean difference by each endpoint."""
    width = max(part.samples.max(), control.samples.max()) + 1
    keys, control_keys = (each.seeds * width + each.samples for each in (part, control))
    _, rows, control_rows = np.intersect1d(keys, control_keys, assume_unique=True, return_indices=True)
    if not len(rows):
        nothing = Estimate(np.nan, np.nan, np.nan)
        return _Differences(_Counts(0, 0, 0, 0), [nothing] * len(endpoints), [np.nan] * len(endpoints))
    paired = part.take(rows)
    differences = (paired.values - control.values[control_rows]).T
    seed, place, thing = (group(codes) for codes in (paired.seeds, paired.places, paired.objects))
    cell = cross(place, thing)
    counts = _Counts(seed.count, len(np.unique(paired.samples)), place.count, thing.count)
    estimates = [paired_estimate(values, seed, place, thing, cell) for values in differences]
    won = [
        _share_won(endpoint.gain(1.0) * values, place) for endpoint, values in zip(endpoints, differences, strict=True)
    ]
    return _Differences(counts, estimates, won)


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


def _answer(name: str, control: str, counts: _Counts, effects: tuple[Effect, ...]) -> Answer:
    verdict = _decide(counts, effects)
    if counts.bear_a_claim:
        sentence = "; ".join([*_tell(name, control, effects), *_tell_against(verdict, effects)])
    else:
        sentence = f"{name} cannot be compared with {control}: {_tell_lack(counts)}"
    return Answer(name, verdict, sentence, *counts, effects)


def _decide(counts: _Counts, effects: tuple[Effect, ...]) -> Verdict:
    if counts.seeds < FEWEST_SEEDS:
        return Verdict.TOO_FEW_SEEDS
    if not counts.bear_a_claim:
        return Verdict.TOO_FEW_GROUPS
    primary = [effect for effect in effects if effect.endpoint.is_primary]
    is_better, is_worse = any(effect.is_better for effect in primary), any(effect.is_worse for effect in primary)
    if not (is_better or is_worse):
        return Verdict.CANNOT_TELL
    gains = [(effect.endpoint.gain(effect.difference), effect.endpoint.margin) for effect in effects]
    speaks_against = any(gain < -margin for gain, margin in gains)
    speaks_for = any(gain > margin for gain, margin in gains)
    if is_better and not (is_worse or speaks_against):
        return Verdict.BETTER
    if is_worse and not (is_better or speaks_for):
        return Verdict.WORSE
    return Verdict.MIXED


def _tell_lack(counts: _Counts) -> str:
    if not counts.samples:
        return "they have no seed and test sample in common"
    wanted = {"seeds": FEWEST_SEEDS, "places": FEWEST_GROUPS, "objects": FEWEST_GROUPS}
    found = {"seeds": counts.seeds, "places": counts.places, "objects": counts.objects}
    lacking = [kind for kind, fewest in wanted.items() if found[kind] < fewest]
    shared, taken = (" and ".join(f"{of[kind]} {kind}" for kind in lacking) for of in (found, wanted))
    return f"they share {shared}, and a claim takes {taken}"


def _tell(name: str, control: str, effects: tuple[Effect, ...]) -> list[str]:
    """Say by which endpoints of the mask and of the depth a combination differs, and what would have been seen."""
    parts: list[str] = []
    for target in ("mask", "depth"):
        primary = [effect for effect in effects if effect.endpoint.target == target and effect.endpoint.is_primary]
        better, worse = [e for e in primary if e.is_better], [e for e in primary if e.is_worse]
        subject = f"{name} is" if not parts else "it is"
        against = f" than {control}" if not parts else ""
        told = [f"better{against} in {_list(better)}"] if better else []
        told += [f"worse{against if not better else ''} in {_list(worse)}"] if worse else []
        if told:
            parts.append(f"{subject} {' and '.join(told)}")
        elif primary:
            unclear = f"in {target} they cannot be told apart"
            if not parts:
                unclear = f"{name} and {control} cannot be told apart in {target}"
            parts.append(f"{unclear}; {_tell_power(primary[0])}")
    return parts


def _tell_against(verdict: Verdict, effects: tuple[Effect, ...]) -> list[str]:
    """Say what kept a clear difference from deciding, as far as it is not shown and thus not told of already."""
    primary = [effect for effect in effects if effect.endpoint.is_primary]
    is_better, is_worse = any(effect.is_better for effect in primary), any(effect.is_worse for effect in primary)
    if verdict is not Verdict.MIXED or (is_better and is_worse):
        return []
    sign, word = (-1, "worse") if is_better else (1, "better")
    doubts = [
        f"{effect.endpoint.title} {_tell_amount(effect.endpoint, effect.difference)} {word}"
        for effect in effects
        if sign * effect.endpoint.gain(effect.difference) > effect.endpoint.margin
        and not (effect.is_better or effect.is_worse)
    ]
    return [f"against that speaks, without being shown, {' and '.join(doubts)}"] if doubts else []


def _list(effects: list[Effect]) -> str:
    return " and ".join(f"{effect.endpoint.title} by {_tell_range(effect)}" for effect in effects)


def _tell_range(effect: Effect) -> str:
    low, high = sorted((abs(effect.low), abs(effect.high)))
    if effect.endpoint.is_share:
        return f"{100 * low:.1f} to {100 * high:.1f} points"
    return f"{low:.4f} to {high:.4f}"


def _tell_amount(endpoint: Endpoint, difference: float) -> str:
    return f"{100 * abs(difference):.1f} points" if endpoint.is_share else f"{abs(difference):.4f}"


def _tell_power(effect: Effect) -> str:
    visible = _tell_amount(effect.endpoint, effect.visible)
    return f"a difference of {visible} in {effect.endpoint.title} would have been seen"


def _rank(answer: Answer) -> tuple[int, float]:
    """Put the verdicts in order, and in one of them the larger gain in the first endpoint before the smaller."""
    first = answer.effects[0]
    gain = first.endpoint.gain(first.difference)
    return list(Verdict).index(answer.verdict), -gain if np.isfinite(gain) else np.inf


def _tabulate_means(parts: dict[str, _Measured], endpoints: tuple[Endpoint, ...]) -> pd.DataFrame:
    """Give each combination's own means; their intervals overlap where a paired difference is clear."""
    rows = []
    for name, part in parts.items():
        seed, place, thing = (group(codes) for codes in (part.seeds, part.places, part.objects))
        cell = cross(place, thing)
        counts = _Counts(seed.count, 0, place.count, thing.count)
        for endpoint, values in zip(endpoints, part.values.T, strict=True):
            estimate = paired_estimate(values, seed, place, thing, cell)
            low, high = estimate.interval(CONFIDENCE) if counts.bear_a_claim else (np.nan, np.nan)
            rows.append((name, endpoint.metric, estimate.mean, low, high, seed.count))
    return pd.DataFrame(rows, columns=["combination", "metric", "mean", "low", "high", "seeds"])
