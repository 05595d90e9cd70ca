"""Whether one combination may take the place of another: better in what was asked for, and worse in nothing.

Pure: a comparison of the two in, a ruling out.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.comparing.results import ENDPOINTS, Answer, Comparison, Effect, Endpoint, Verdict
from maskdepth.comparing.statistics import MOST_SEEDS, seeds_needed
from maskdepth.comparing.tables import format_difference, format_interval, format_p
from maskdepth.metrics.names import SCORED
from maskdepth.process.console import suggest

SCORE = "score"


class Ruling(NamedTuple):
    """What a comparison says about a promotion.

    Attributes:
        is_better: Whether the challenger may take the champion's place.
        sentence: Why, or why not, and then what might decide.
        answer: What it rests on.
    """

    is_better: bool
    sentence: str
    answer: Answer


def choose_metrics(metric: str) -> tuple[str, ...]:
    """Give the metrics that one of which has to be better: those that the score consists of, or the one asked for.

    Raises:
        ValueError: No combination is judged by it.
    """
    if metric == SCORE:
        return SCORED
    known = [endpoint.metric for endpoint in ENDPOINTS]
    if metric not in known:
        raise ValueError(f"--metric {metric}: {suggest(metric, [SCORE, *known])}")
    return (metric,)


def rule(comparison: Comparison, samples: pd.DataFrame, metric: str) -> Ruling:
    """Decide by a comparison of one challenger with the champion, which is its control.

    Better is shown by one of the metrics asked for. Worse is what is shown to be, or is by more than its margin, or was
    not measured: that speaks against every promotion.

    Args:
        comparison: Of the two.
        samples: What it was made of.
        metric: As for `choose_metrics`.
    """
    (answer,) = comparison.answers
    if answer.verdict in (Verdict.TOO_FEW_SEEDS, Verdict.TOO_FEW_GROUPS):
        return Ruling(False, answer.sentence, answer)
    wanted = choose_metrics(metric)
    asked = [effect for effect in answer.effects if effect.endpoint.metric in wanted]
    better = [effect for effect in asked if effect.is_better]
    worse = [effect for effect in answer.effects if effect.is_worse]
    doubts = [effect for effect in answer.effects if _is_doubt(effect)]
    told = [f"is better in {_list(better)}"] if better else []
    told += [f"{'but' if better else 'is'} worse in {_list(worse)}"] if worse else []
    if not told:
        told = [f"is not shown to be better in {_list(asked)}", _tell_seeds(comparison.control, answer, asked, samples)]
    told += [f"against it speaks, without being shown, {_list(doubts)}"] if doubts else []
    is_better = bool(better) and not worse and not doubts
    told += ["worse in nothing"] if is_better else []
    return Ruling(is_better, f"{answer.combination} {'; '.join(told)}", answer)


def describe(ruling: Ruling) -> str:
    """Write every difference as a Markdown table."""
    rows = [["metric", "minus the champion [95 %]", "p"], ["---"] * 3]
    rows += [[e.endpoint.title, _tell(e), format_p(e.p)] for e in ruling.answer.effects]
    answer = ruling.answer
    counts = f"{answer.seeds} seeds, {answer.samples:,} test samples, {answer.places} places, {answer.objects} objects."
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", f"Paired over {counts}"])


def number(ruling: Ruling) -> dict[str, str]:
    """Give what the ruling rests on, by name, to be found again."""
    counts = {name: str(getattr(ruling.answer, name)) for name in ("seeds", "places", "objects")}
    return counts | {e.endpoint.metric: f"{_tell(e)} p {format_p(e.p)}" for e in ruling.answer.effects}


def _is_doubt(effect: Effect) -> bool:
    """Tell whether an endpoint speaks against a promotion though it is not shown to be worse."""
    gain = effect.endpoint.gain(effect.difference)
    return bool(not effect.is_shown and (np.isnan(gain) or gain < -effect.endpoint.margin))


def _tell_seeds(control: str, answer: Answer, asked: Iterable[Effect], samples: pd.DataFrame) -> str:
    """Say how many more seeds might decide, by the metric that takes the fewest."""
    gains = [e for e in asked if e.endpoint.gain(e.difference) > 0]
    counts = [seeds_needed(samples, control, answer.combination, e.endpoint.metric) for e in gains]
    known = [count for count in counts if count is not None]
    if not known:
        return f"{MOST_SEEDS} seeds would not show so little on these test places"
    more = min(known) - answer.seeds
    return f"{more} more {'seed' if more == 1 else 'seeds'} of both might decide"


def _list(effects: Iterable[Effect]) -> str:
    return " and ".join(f"{effect.endpoint.title} ({_tell(effect)})" for effect in effects)


def _tell(effect: Effect) -> str:
    unit = _unit(effect.endpoint)
    if not np.isfinite(effect.difference):
        return "not measured"
    return f"{format_difference(effect.endpoint, effect.difference)}{unit} {format_interval(effect)}"


def _unit(endpoint: Endpoint) -> str:
    return " points" if endpoint.is_share else ""
