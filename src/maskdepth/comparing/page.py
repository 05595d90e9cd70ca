"""The answer as one file to mail: verdict first, then the table, the drawings and the same pictures side by side.

Pure: results in, HTML out. Everything is within the file, so it opens offline and asks nobody for anything; every name
is escaped, so that what somebody called a run can do nothing.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd

from maskdepth.comparing.charts import Mark, curves, forest, scatter
from maskdepth.comparing.look import SCRIPT, STYLE
from maskdepth.comparing.results import (
    FEWEST_SEEDS,
    LEVEL,
    Answer,
    Comparison,
    Effect,
    Endpoint,
    Verdict,
)
from maskdepth.comparing.tables import control_seeds, format_difference, format_interval, format_p, means_by_name
from maskdepth.comparing.telling import headline
from maskdepth.evaluation.intervals import FEWEST_GROUPS

_Means = dict[tuple[str, str], tuple[float, float, float]]

# Above so many sentences those that claim nothing are folded away.
_MOST_SENTENCES = 12


@dataclass(frozen=True)
class Picture:
    """One picture of one test sample.

    Attributes:
        title: The sample's; the same sample has the same title with every combination.
        png: The file's bytes.
    """

    title: str
    png: bytes


@dataclass(frozen=True)
class Surroundings:
    """What stands around a comparison on its page.

    Attributes:
        conditions: What all runs share, in words a reader knows: image size, epochs, ...
        baselines: Means of what has learned nothing, by name and metric.
        left_out: One line for each run that takes no part.
        curves: Rows of `combination`, `seed`, `epoch`, `metric` and `value`; None where there are none.
        pictures: Of each combination, in one order.
    """

    conditions: Mapping[str, str]
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    curves: pd.DataFrame | None = None
    pictures: Mapping[str, Sequence[Picture]] = field(default_factory=dict)


def write_page(comparison: Comparison, surroundings: Surroundings) -> str:
    """Give the whole page as HTML."""
    sections = [
        _sentences(comparison),
        _table(comparison, surroundings.baselines),
        _forests(comparison),
        _trade_off(comparison),
        _curves(comparison, surroundings.curves),
        _pictures(surroundings.pictures),
        _details(comparison),
        _left_out(surroundings.left_out),
        _reading(comparison),
    ]
    verdict = escape(headline(comparison))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Whatever a name or a picture holds, nothing is loaded and nothing but this page's own script runs.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>Which combination of losses is best?</title><style>{STYLE}</style></head>\n<body><header>"
        f'<h1>Which combination of losses is best?</h1><p class="verdict">{verdict}</p>'
        f"{_conditions(comparison, surroundings.conditions)}</header>\n<main>"
        + "\n".join(section for section in sections if section)
        + f"</main>\n<footer>Made by maskdepth compare.</footer><script>{SCRIPT}</script></body></html>\n"
    )


def _conditions(comparison: Comparison, conditions: Mapping[str, str]) -> str:
    counts = {}
    for name in ("seeds", "samples", "places", "objects"):
        found = {getattr(answer, name) for answer in comparison.answers}
        if found:
            counts[f"paired {name}"] = f"{min(found)}" if len(found) == 1 else f"{min(found)} to {max(found)}"
    chips = {"control": comparison.control, **conditions, **counts}
    items = [f"<li>{escape(str(title))} <b>{escape(str(value))}</b></li>" for title, value in chips.items()]
    return f'<ul class="conditions">{"".join(items)}</ul>'


def _sentences(comparison: Comparison) -> str:
    """Tell each combination in a sentence, those that are better or worse before those that cannot be told."""
    items = [f'<li class="{_kind(answer.verdict)}">{escape(answer.sentence)}.</li>' for answer in comparison.answers]
    if not items:
        return ""
    shown = len(items)
    if len(items) > _MOST_SENTENCES:
        shown = sum(answer.verdict is Verdict.BETTER for answer in comparison.answers)
    rest = f'<ul class="sentences">{"".join(items[shown:])}</ul>'
    folded = f"<details><summary>{len(items) - shown} more sentences</summary>{rest}</details>"
    return (
        f"<section><h2>In a sentence each</h2>"
        f'<ul class="sentences">{"".join(items[:shown])}</ul>{folded if shown < len(items) else ""}</section>'
    )


def _kind(verdict: Verdict) -> str:
    """Name what a combination is drawn as."""
    return str(verdict) if verdict in (Verdict.BETTER, Verdict.WORSE) else "open"


def _table(comparison: Comparison, baselines: Mapping[str, Mapping[str, float]]) -> str:
    endpoints = [endpoint for endpoint in comparison.endpoints if endpoint.is_primary]
    means = means_by_name(comparison)
    heads = [_head("combination", ""), _head("verdict", ""), _head("seeds", "descending")]
    for endpoint in endpoints:
        unit = "points" if endpoint.is_share else "MAE"
        first = "descending" if endpoint.is_higher_better else "ascending"
        arrow = "higher" if endpoint.is_higher_better else "lower"
        heads.append(_head(endpoint.title, first, f"{arrow} is better; below: minus control, {unit}"))
    rows = [_control_row(comparison, endpoints, means)]
    rows += [_row(answer, position, means) for position, answer in enumerate(comparison.answers, 1)]
    rows += [_baseline_row(name, found, endpoints) for name, found in baselines.items()]
    verdicts = {answer.verdict for answer in comparison.answers}
    options = "".join(f"<option>{verdict}</option>" for verdict in Verdict if verdict in verdicts)
    return (
        "<section><h2>All combinations</h2>"
        '<div class="filters" role="search"><label>Name has all of these words<input id="name" type="search"></label>'
        f'<label>Verdict<select id="verdict"><option value="">all</option>{options}</select></label>'
        f'<output aria-live="polite">{len(rows)} rows shown</output></div>'
        '<div class="wide"><table class="sortable" id="combinations"><caption>Means over seeds and test samples; '
        "below each the difference to the control with its 95 % interval. Shaded: shown to be better or worse. "
        "A button in a heading sorts.</caption>"
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _head(title: str, first: str, note: str = "") -> str:
    below = f"<small>{note}</small>" if note else ""
    start = f' data-first="{first}"' if first else ""
    return f'<th scope="col"{start}><button type="button">{escape(title)}</button>{below}</th>'


def _opening(name: str, kind: str, verdict: str) -> str:
    named = escape(name)
    # A long sum of losses may be broken behind each of its signs, and nowhere else.
    breakable = re.sub(r"([|+*,_])", r"\1<wbr>", named)
    return f'<tr class="{kind}" data-name="{named}" data-verdict="{verdict}"><th scope="row">{breakable}</th>'


def _control_row(comparison: Comparison, endpoints: Sequence[Endpoint], means: _Means) -> str:
    own = [means[comparison.control, endpoint.metric][0] for endpoint in endpoints]
    cells = [f'<td data-value="{mean:.6g}">{mean:.3f}</td>' for mean in own]
    return (
        f'{_opening(comparison.control, "control", "control")}<td data-value="0"><span class="tag">control</span></td>'
        f"<td>{control_seeds(comparison)}</td>{''.join(cells)}</tr>"
    )


def _row(answer: Answer, position: int, means: _Means) -> str:
    kind = _kind(answer.verdict)
    cells = [
        _cell(effect, means[answer.combination, effect.endpoint.metric][0])
        for effect in answer.effects
        if effect.endpoint.is_primary
    ]
    return (
        f"{_opening(answer.combination, '', str(answer.verdict))}"
        f'<td data-value="{position}"><span class="tag {kind}">{answer.verdict}</span></td>'
        f"<td>{answer.seeds}</td>{''.join(cells)}</tr>"
    )


def _cell(effect: Effect, mean: float) -> str:
    kind = "better" if effect.is_better else "worse" if effect.is_worse else ""
    value = f"{mean:.6g}" if np.isfinite(mean) else ""
    told = f"{format_difference(effect.endpoint, effect.difference)} {format_interval(effect)}".removesuffix(" -")
    word = f"<small>{kind}</small>" if kind else ""
    shown = f"{mean:.3f}" if value else "not measured"
    return f'<td class="{kind}" data-value="{value}">{shown}<small>{told}</small>{word}</td>'


def _baseline_row(name: str, found: Mapping[str, float], endpoints: Sequence[Endpoint]) -> str:
    cells = []
    for endpoint in endpoints:
        value = found.get(endpoint.metric, np.nan)
        cells.append(
            f'<td data-value="{value:.6g}">{value:.3f}</td>' if np.isfinite(value) else '<td data-value="">-</td>'
        )
    opening = _opening(name, "baseline", "baseline")
    return f'{opening}<td data-value="999">baseline</td><td data-value="">-</td>{"".join(cells)}</tr>'


def _forests(comparison: Comparison) -> str:
    if not comparison.answers:
        return ""
    figures = [
        f"<figure><h3>{escape(endpoint.title)}{' [points]' if endpoint.is_share else ''}</h3>"
        f"{forest(comparison, endpoint)}</figure>"
        for endpoint in comparison.endpoints
        if endpoint.is_primary
    ]
    return (
        f"<section><h2>Differences to {escape(comparison.control)}</h2>"
        '<p class="note">Right of the line is better, whichever way the metric goes. Filled: shown to differ. Hollow: '
        "not. The band is what is called no matter; an interval that leaves it on the left does not rule out a loss "
        f'that matters.</p><div class="charts">{"".join(figures)}</div></section>'
    )


def _trade_off(comparison: Comparison) -> str:
    """Draw the first endpoint of the mask against that of the depth."""
    firsts = {
        target: next((e for e in comparison.endpoints if e.target == target and e.is_primary), None)
        for target in ("mask", "depth")
    }
    mask, depth = firsts["mask"], firsts["depth"]
    if mask is None or depth is None:
        return ""
    kinds = _kinds(comparison)
    means = means_by_name(comparison)
    all_marks = [Mark(name, kind, means[name, mask.metric], means[name, depth.metric]) for name, kind in kinds.items()]
    marks = [mark for mark in all_marks if np.isfinite([mark.mask[0], mark.depth[0]]).all()]
    return (
        "<section><h2>Mask against depth</h2>"
        '<p class="note">Up and to the right is better. The crosses are the intervals of each mean over other seeds, '
        "places and objects; they overlap even where a paired difference is clear, as all are measured on the same "
        f"samples. The diamond is the control.</p><figure>{scatter(marks, mask.title, depth.title)}</figure></section>"
    )


def _kinds(comparison: Comparison) -> dict[str, str]:
    return {comparison.control: "control"} | {a.combination: _kind(a.verdict) for a in comparison.answers}


def _curves(comparison: Comparison, points: pd.DataFrame | None) -> str:
    if points is None or points.empty:
        return ""
    kinds = _kinds(comparison)
    points = points[points["combination"].isin(list(kinds))]
    figures = [
        f"<figure><h3>{escape(str(metric))}</h3>{curves(points, str(metric), kinds)}</figure>"
        for metric in points["metric"].unique()
    ]
    return (
        '<section><h2>While they learned</h2><p class="note">Means over seeds, on the validation split. Thick: the '
        f'control. Dashed: worse.</p><div class="charts">{"".join(figures)}</div></section>'
    )


def _pictures(pictures: Mapping[str, Sequence[Picture]]) -> str:
    if not pictures:
        return ""
    titles = list(dict.fromkeys(picture.title for row in pictures.values() for picture in row))
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    rows = []
    for name, row in pictures.items():
        found = {picture.title: picture for picture in row}
        cells = "".join(f"<td>{_image(name, found.get(title))}</td>" for title in titles)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        "<section><h2>The same pictures by every combination</h2>"
        f'<div class="wide"><table class="pictures"><caption>One row a combination, one column a test sample.</caption>'
        f'<thead><tr><th scope="col">combination</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        "</section>"
    )


def _image(name: str, picture: Picture | None) -> str:
    if picture is None:
        return "not drawn"
    data = base64.b64encode(picture.png).decode("ascii")
    return f'<img loading="lazy" alt="{escape(f"{picture.title} by {name}")}" src="data:image/png;base64,{data}">'


def _details(comparison: Comparison) -> str:
    """Tabulate every effect with all that is known of it."""
    if not comparison.answers:
        return ""
    titles = (
        "combination",
        "endpoint",
        "difference",
        "95 % interval",
        "Holm's p",
        "places won",
        "would have been seen",
    )
    rows = [_detail_row(answer, effect) for answer in comparison.answers for effect in answer.effects]
    return (
        "<section><h2>Every number</h2><details><summary>"
        f'{len(rows)} differences with p and power</summary><div class="wide"><table class="sortable"><caption>'
        "Differences of shares are in points, hundredths. Places won: the share of places on whose mean the "
        "combination is better. Would have been seen: the smallest difference that is found four times of five."
        f"</caption><thead><tr>{''.join(_head(title, '') for title in titles)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details></section>"
    )


def _detail_row(answer: Answer, effect: Effect) -> str:
    seen = format_difference(effect.endpoint, effect.visible).removeprefix("+")
    won = f"{100 * effect.places_won:.0f} %" if np.isfinite(effect.places_won) else "-"
    cells = [
        f"<td>{escape(effect.endpoint.title)}</td>",
        _number(effect.difference, format_difference(effect.endpoint, effect.difference)),
        _number(effect.low, format_interval(effect)),
        _number(effect.holm, format_p(effect.holm)),
        _number(effect.places_won, won),
        _number(effect.visible, seen),
    ]
    return f"{_opening(answer.combination, '', str(answer.verdict))}{''.join(cells)}</tr>"


def _number(value: float, told: str) -> str:
    return f'<td data-value="{f"{value:.6g}" if np.isfinite(value) else ""}">{told}</td>'


def _left_out(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    count = f"{len(lines)} run{'s' if len(lines) > 1 else ''}"
    folded = f"<details><summary>{count} not compared, and why</summary><ul>{items}</ul></details>"
    return f"<section><h2>Left out</h2>{folded}</section>"


def _reading(comparison: Comparison) -> str:
    """Say how the verdicts are made."""
    margins = ", ".join(
        f"{format_difference(e, e.margin).removeprefix('+')}{' points' if e.is_share else ''} of {e.title}"
        for e in comparison.endpoints
    )
    primary = " or ".join(endpoint.title for endpoint in comparison.endpoints if endpoint.is_primary)
    terms = {
        "better": f"Shown to be better in {primary}, and none of all endpoints worse by more than its margin: "
        f"{margins}.",
        "worse": "The same the other way round.",
        "mixed": "Shown to differ in one endpoint, but another speaks against it.",
        "cannot tell": "No difference is shown. It may be there: the sentence says how large it would have to be.",
        "shown": f"Holm's p over all combinations is below {LEVEL:.3g}, so that a combination that is no better is "
        "called better in at most one of twenty comparisons, all endpoints together.",
        "difference": "Of the same seed and the same test sample, then tested over seeds, places and objects, each of "
        "which is a few of many.",
        "too few": f"Nothing is claimed from fewer than {FEWEST_SEEDS} paired seeds, {FEWEST_GROUPS} places or "
        f"{FEWEST_GROUPS} objects.",
        "place": "Test samples with one background, or with backgrounds of one place, count as one group.",
    }
    items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in terms.items())
    return f"<section><h2>How to read this</h2><dl>{items}</dl></section>"
