"""The answer to the question that the project is for: which combination of losses is best, and how sure that is.

From the runs of a store to sentences, a table, a page: what can be compared is chosen, read, compared and told.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from maskdepth.comparing.grouping import Family, LeftOut, Run, choose_family
from maskdepth.comparing.page import Picture, Surroundings, write_page
from maskdepth.comparing.results import Comparison, Verdict
from maskdepth.comparing.statistics import compare
from maskdepth.comparing.tables import as_csv_table, as_markdown, terminal_rows
from maskdepth.comparing.telling import headline
from maskdepth.evaluation.disturbances import ROBUSTNESS_COLUMNS
from maskdepth.losses.names import normal_form
from maskdepth.params import load_params
from maskdepth.process.console import count
from maskdepth.process.files import replace_text
from maskdepth.tracking.answers import file_answer
from maskdepth.tracking.history import (
    History,
    open_history,
    read_baselines,
    read_curves,
    read_pictures,
    read_samples,
)
from maskdepth.tracking.identity import loss_signature

# Sentences and reasons that a terminal shows; the files have all of them.
_MOST_LINES = 12
_WITHOUT_NEWS = (Verdict.CANNOT_TELL, Verdict.TOO_FEW_SEEDS, Verdict.TOO_FEW_GROUPS)


@dataclass(frozen=True)
class Answer:
    """A comparison, and what it was made of.

    Attributes:
        comparison: What came out.
        family: The runs that were compared, and those that were not.
        baselines: What the predictors reached that have learned nothing, by name and metric.
        robustness: Of each combination, where it was measured, the mean of each of `ROBUSTNESS_COLUMNS`.
        history: All runs.
    """

    comparison: Comparison
    family: Family
    baselines: dict[str, dict[str, float]]
    robustness: pd.DataFrame
    history: History


def answer(experiment: str, control: str | None, wanted: Sequence[Mapping[str, str]] | None = None) -> Answer:
    """Compare the runs of an experiment.

    Args:
        experiment: Its name.
        control: The combination that the others are compared with, in any spelling; None takes that of the params.yaml
            here if it was run beside others, else the one of the largest family that has the most seeds.
        wanted: All settings of each run that may take part, by dotted key; None takes all runs.

    Raises:
        ValueError: There is nothing to compare; says why.
    """
    history = open_history(experiment)
    if wanted is not None:
        history = replace(history, runs=_choose_wanted(history.runs, wanted))
    family, name = _choose(history, control)
    samples, unreadable = read_samples(history, family)
    family = _without(family, unreadable)
    if name not in family.combinations:
        raise ValueError(f"no table of {name} can be read; the first: {unreadable[0]}")
    compared = compare(samples, name)
    baselines = read_baselines(history, family.combinations[name].values())
    measured = [column for column in ROBUSTNESS_COLUMNS if column in samples]
    robustness = samples.groupby("combination")[measured].mean().dropna()
    return Answer(compared, family, baselines, robustness, history)


def write_answer(found: Answer, html: Path | None, csv: Path | None, markdown: Path | None) -> Iterator[str]:
    """Write the files that were asked for, and give a line for each."""
    if html is not None:
        began = time.monotonic()
        replace_text(html, as_page(found))
        yield f"{html}: the same as one page, with curves and pictures ({time.monotonic() - began:.1f} s)"
    if csv is not None:
        replace_text(csv, as_csv_table(found.comparison).to_csv(index=False))
        yield f"{csv}: every number"
    if markdown is not None:
        replace_text(markdown, as_markdown(found.comparison))
        yield f"{markdown}: verdict, table and sentences"


def as_page(found: Answer) -> str:
    """Make one page of it, with curves and pictures."""
    surroundings = Surroundings(
        conditions=_conditions(found.family),
        baselines=found.baselines,
        left_out=[str(left_out) for left_out in found.family.left_out],
        curves=read_curves(found.history, found.family),
        pictures=_in_order(found, read_pictures(found.history, found.family)),
    )
    return write_page(found.comparison, surroundings)


def file(found: Answer, key: str, name: str) -> str:
    """Put it into the store as a row of its own, and say so in a line.

    Args:
        found: What came out.
        key: Of what was run; a later answer about the same replaces the earlier.
        name: Of the row.
    """
    text = as_markdown(found.comparison)
    table = as_csv_table(found.comparison).to_csv(index=False)
    return file_answer(key, name, text, {"answer.html": as_page(found), "answer.csv": table, "answer.md": text})


def tabulate(found: Answer) -> tuple[list[str], list[list[str]]]:
    """Give titles and rows for a terminal, the baselines last."""
    titles, rows = terminal_rows(found.comparison)
    primary = [endpoint for endpoint in found.comparison.endpoints if endpoint.is_primary]
    for name, own in found.baselines.items():
        cells = [f"{own[endpoint.metric]:.3f}" if endpoint.metric in own else "-" for endpoint in primary]
        rows.append([name, "baseline", "-", *cells])
    return titles, rows


def tell_verdict(found: Answer) -> list[str]:
    """Say in one or two sentences what came out, and of what."""
    conditions = ", ".join(f"{title} {value}" for title, value in _conditions(found.family).items())
    runs = sum(len(by_seed) for by_seed in found.family.combinations.values())
    return [
        headline(found.comparison),
        f"{count(runs, 'runs')} of {count(len(found.family.combinations), 'combinations')}; {conditions}",
    ]


def tell_rest(found: Answer) -> list[str]:
    """Say a sentence for each combination, those with news first, and which runs were left out and why."""
    answers = found.comparison.answers
    news = [each for each in answers if each.verdict not in _WITHOUT_NEWS]
    shown = (news + [each for each in answers if each not in news])[:_MOST_LINES]
    lines = [f"{each.sentence}." for each in shown]
    if len(answers) > len(shown):
        lines.append(f"{len(answers) - len(shown)} more sentences: --markdown or --html writes all of them.")
    return [*lines, *_tell_robustness(found), *_tell_versions(found.family), *_tell_left_out(found.family.left_out)]


def _choose_wanted(runs: Iterable[Run], wanted: Sequence[Mapping[str, str]]) -> tuple[Run, ...]:
    """Keep the runs with just these settings."""
    known = {frozenset(settings.items()) for settings in wanted}
    keys = frozenset(key for settings in wanted for key in settings)
    return tuple(
        run for run in runs if frozenset((key, value) for key, value in run.params.items() if key in keys) in known
    )


def _choose(history: History, control: str | None) -> tuple[Family, str]:
    if control is not None:
        name = _spell(control)
        return choose_family(history.runs, name), name
    largest = choose_family(history.runs, None)
    here = _signature_here()
    if here is not None and any(run.signature == here for run in history.runs):
        try:
            own = choose_family(history.runs, here)
        except ValueError:  # none of its runs can be compared
            own = largest
        if here in own.combinations and len(own.combinations) > 1:
            return own, here
    # Of equally many seeds the first by name, whatever was run last.
    return largest, max(largest.combinations, key=lambda name: len(largest.combinations[name]))


def _spell(control: str) -> str:
    """Bring a signature into the form that runs are named by; anything else stays as it is."""
    losses, comma, rest = control.partition(", ")
    mask, _, depth = losses.partition("|")
    try:
        return f"{normal_form(mask, 'mask')}|{normal_form(depth, 'depth')}{comma}{rest}"
    except ValueError:
        return control


def _signature_here() -> str | None:
    try:
        return loss_signature(load_params().loss)
    except (FileNotFoundError, ValueError):
        return None


def _without(family: Family, unreadable: list[LeftOut]) -> Family:
    gone = {left_out.run.run_id for left_out in unreadable}
    kept = {
        name: {seed: run for seed, run in by_seed.items() if run.run_id not in gone}
        for name, by_seed in family.combinations.items()
    }
    combinations = {name: by_seed for name, by_seed in kept.items() if by_seed}
    return replace(family, combinations=combinations, left_out=(*family.left_out, *unreadable))


def _conditions(family: Family) -> dict[str, str]:
    """Give what all runs share; hashes say nothing to a reader."""
    return {title: value for title, value in family.conditions.items() if title not in ("data", "split")}


def _in_order(found: Answer, pictures: dict[str, list[Picture]]) -> dict[str, list[Picture]]:
    """Put the control first, then the others in the order of the answers."""
    order = [found.comparison.control, *(each.combination for each in found.comparison.answers)]
    return {name: pictures[name] for name in order if name in pictures}


def _tell_robustness(found: Answer) -> list[str]:
    """Say what becomes of masks when backgrounds are disturbed; nothing where nobody measured it."""
    table, control = found.robustness, found.comparison.control
    if control not in table.index or len(table.columns) < len(ROBUSTNESS_COLUMNS):
        return []
    own = [f"{float(table[column][control]):.3f}" for column in ROBUSTNESS_COLUMNS]
    line = f"With disturbed backgrounds (moved, lit, noisy) {control} has a mask IoU of {own[0]}, registered {own[1]}"
    others = table.drop(index=control)
    if len(others):
        ends = [f"{others[column].min():.3f} to {others[column].max():.3f}" for column in ROBUSTNESS_COLUMNS]
        line += f"; the others {ends[0]}, registered {ends[1]}"
    return [f"{line}."]


def _tell_versions(family: Family) -> list[str]:
    known = [version for version in family.versions if version]
    if len(known) < 2:
        return []
    return [f"The runs are of {len(known)} commits ({', '.join(known[:4])}): the code may differ between them."]


def _tell_left_out(left_out: tuple[LeftOut, ...]) -> list[str]:
    """Say why runs take no part, those with one reason together."""
    reasons: dict[str, list[Run]] = defaultdict(list)
    for each in left_out:
        # Their own reasons name the newer runs, so no two are the same.
        reason = "there is a newer run with its settings and seed" if each.is_superseded else each.reason
        reasons[reason].append(each.run)
    counted = sorted(reasons.items(), key=lambda item: -len(item[1]))
    lines = []
    for reason, (first, *others) in counted[:_MOST_LINES]:
        who = f"{1 + len(others)} runs such as {first.name}" if others else f"{first.name} ({first.run_id[:8]})"
        lines.append(f"Left out: {who}: {reason}.")
    rest = sum(len(runs) for _, runs in counted[_MOST_LINES:])
    return [*lines, *([f"Left out: {rest} more runs; --html lists them."] if rest else [])]
