"""The answer in plain English: a sentence for each combination, and a headline for all."""

import numpy as np

from maskdepth.comparing.results import FEWEST_SEEDS, Comparison, Counts, Effect, Endpoint, Verdict
from maskdepth.evaluation.intervals import FEWEST_GROUPS
from maskdepth.process.console import count

# Of the better ones, in the headline.
_MOST_NAMED = 5


def headline(comparison: Comparison) -> str:
    """Say in one or two sentences what came out.

    Among several that are better none is called the best: to take the largest difference is to take the luckiest.
    """
    control, total = comparison.control, len(comparison.answers)
    if not total:
        return f"There is only {control}: nothing to compare it with."
    if total == 1:
        return f"{comparison.answers[0].sentence}."
    named: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for answer in comparison.answers:
        named[answer.verdict].append(answer.combination)
    better = named.pop(Verdict.BETTER)
    told = f"None of {total} combinations is shown to be better than {control}."
    if better:
        more = f" and {len(better) - _MOST_NAMED} more" if len(better) > _MOST_NAMED else ""
        verb = "is" if len(better) == 1 else "are"
        names = ", ".join(better[:_MOST_NAMED])
        told = f"{len(better)} of {total} combinations {verb} better than {control}: {names}{more}."
    rest = "; ".join(f"{len(names)} {verdict}" for verdict, names in named.items() if names)
    return f"{told} {rest[0].upper()}{rest[1:]}." if rest else told


def tell(name: str, control: str, counts: Counts, verdict: Verdict, effects: tuple[Effect, ...]) -> str:
    """Say what can be said of a combination, without a full stop."""
    if not counts.bear_a_claim:
        return f"{name} cannot be compared with {control}: {_tell_lack(counts)}"
    return "; ".join([*_tell_effects(name, control, effects), *_tell_against(verdict, effects)])


def _tell_lack(counts: Counts) -> str:
    if not counts.samples:
        return "they have no seed and test sample in common"
    wanted = {"seeds": FEWEST_SEEDS, "places": FEWEST_GROUPS, "objects": FEWEST_GROUPS}
    found = {"seeds": counts.seeds, "places": counts.places, "objects": counts.objects}
    lacking = [kind for kind, fewest in wanted.items() if found[kind] < fewest]
    shared, taken = (" and ".join(count(of[kind], kind) for kind in lacking) for of in (found, wanted))
    return f"they share {shared}, and a claim takes {taken}"


def _tell_effects(name: str, control: str, effects: tuple[Effect, ...]) -> list[str]:
    """Say by which endpoints of the mask and of the depth a combination differs, and what would have been seen."""
    parts: list[str] = []
    is_subject = False  # of the sentence so far, so that "it" is the combination
    for target in ("mask", "depth"):
        primary = [effect for effect in effects if effect.endpoint.target == target and effect.endpoint.is_primary]
        better, worse = [e for e in primary if e.is_better], [e for e in primary if e.is_worse]
        subject = "it is" if is_subject else f"{name} is"
        against = f" than {control}" if not parts else ""
        told = [f"better{against} in {_list(better)}"] if better else []
        told += [f"worse{against if not better else ''} in {_list(worse)}"] if worse else []
        is_subject = bool(told)
        if told:
            parts.append(f"{subject} {' and '.join(told)}")
        elif primary and not np.isfinite(primary[0].visible):
            parts.append(f"of the {target} nothing can be said, as one of them lacks {primary[0].endpoint.title}")
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
    doubts = []
    for endpoint, difference in ((effect.endpoint, effect.difference) for effect in effects if not effect.is_shown):
        if np.isnan(difference):
            doubts.append(f"{endpoint.title}, which one of them lacks")
        elif sign * endpoint.gain(difference) > endpoint.margin:
            doubts.append(f"{endpoint.title} {_tell_amount(endpoint, difference)} {word}")
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
    if effect.endpoint.is_share and effect.visible >= 1:  # as much as there is between nothing and all
        return f"so few seeds and places would have shown no difference in {effect.endpoint.title}"
    visible = _tell_amount(effect.endpoint, effect.visible)
    return f"a difference of {visible} in {effect.endpoint.title} would have been seen"
