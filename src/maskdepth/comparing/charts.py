"""The drawings of the answer as inline SVG: text that can be selected, searched, zoomed and printed.

Nothing is told by colour alone: what is shown to differ is filled, what is not is hollow, and each mark has its numbers
as a title.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskdepth.comparing.results import Comparison, Effect, Endpoint
from maskdepth.comparing.tables import format_difference, format_interval, format_p

# [px] of all drawings; the browser scales them to the room there is.
_NAME_WIDTH = 200
_PLOT_WIDTH = 282
_SIDE_WIDTH = 60  # for what stands right of a zero at the right end
_ROW_HEIGHT = 22
_TOP = 30
# [characters] that fit in _NAME_WIDTH; the whole name is in the title.
_LONGEST_NAME = 26
# Above so many combinations only the control and the better ones are named in a scatter.
_MOST_NAMED = 14


class Mark(NamedTuple):
    """One combination in a scatter of mask against depth.

    Attributes:
        name: Its name.
        kind: What it is drawn as: control, better, worse or open.
        mask: Mean, low and high of the mask's metric.
        depth: Likewise of the depth's; the ends may be NaN.
    """

    name: str
    kind: str
    mask: tuple[float, float, float]
    depth: tuple[float, float, float]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Give about `count` round numbers between two, both ends within.

    >>> ticks(0.0, 1.0), ticks(-0.013, 0.021)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-0.01, 0.0, 0.01, 0.02])
    """
    rough = (high - low) / count
    magnitude = 10.0 ** np.floor(np.log10(rough))
    step = magnitude * next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [round(float(number * step), 12) + 0.0 for number in np.arange(first, last + 1)]


def forest(comparison: Comparison, endpoint: Endpoint) -> str:
    """Draw the difference of every combination to the control with its interval, one line each; better is right."""
    found = [(a.combination, next(e for e in a.effects if e.endpoint == endpoint)) for a in comparison.answers]
    low, high = _span(endpoint, [effect for _, effect in found])
    height = _TOP + _ROW_HEIGHT * len(found) + 26
    bottom = height - 26

    def across(gain: float) -> float:
        return _NAME_WIDTH + _PLOT_WIDTH * (min(max(gain, low), high) - low) / (high - low)

    band = across(-endpoint.margin), across(endpoint.margin)
    parts = [
        f'<rect class="margin" x="{band[0]:.1f}" y="{_TOP - 6}" width="{band[1] - band[0]:.1f}" '
        f'height="{bottom - _TOP + 6}"/>',
        *(_tick_line(endpoint, tick, across(tick), bottom) for tick in ticks(low, high)),
        f'<line class="zero" x1="{across(0):.1f}" x2="{across(0):.1f}" y1="{_TOP - 10}" y2="{bottom}"/>',
        f'<text class="side" x="{across(0) - 8:.1f}" y="14" text-anchor="end">&#8592; worse</text>',
        f'<text class="side" x="{across(0) + 8:.1f}" y="14">better &#8594;</text>',
    ]
    for position, (name, effect) in enumerate(found):
        middle = _TOP + _ROW_HEIGHT * (position + 0.5)
        ends = sorted(endpoint.gain(end) for end in (effect.low, effect.high))
        where = across(ends[0]), across(endpoint.gain(effect.difference)), across(ends[1])
        parts.append(_forest_row(name, effect, middle, where))
    title = f"{endpoint.title}: difference to {comparison.control} with 95 % interval"
    return _svg(_NAME_WIDTH + _PLOT_WIDTH + _SIDE_WIDTH, height, title, parts)


def _span(endpoint: Endpoint, effects: Sequence[Effect]) -> tuple[float, float]:
    """Give the range of gains to draw, always with 0 and the margins in it."""
    numbers = [endpoint.gain(number) for effect in effects for number in (effect.low, effect.difference, effect.high)]
    finite = [number for number in numbers if np.isfinite(number)]
    reach = [*finite, -1.5 * endpoint.margin, 1.5 * endpoint.margin]
    room = 0.04 * (max(reach) - min(reach))
    return min(reach) - room, max(reach) + room


def _tick_line(endpoint: Endpoint, tick: float, x: float, bottom: float) -> str:
    value = endpoint.gain(tick)
    label = f"{100 * value:+.3g}" if endpoint.is_share else f"{value:+.3g}"
    told = "0" if tick == 0 else label
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>'
        f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle">{told}</text>'
    )


def _forest_row(name: str, effect: Effect, middle: float, where: tuple[float, float, float]) -> str:
    kind = "better" if effect.is_better else "worse" if effect.is_worse else "open"
    told = f"{name}: {format_difference(effect.endpoint, effect.difference)} {format_interval(effect)}"
    low, center, high = where
    line = f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.0f}" y2="{middle:.0f}"/>' if np.isfinite(low) else ""
    dot = f'<circle cx="{center:.1f}" cy="{middle:.0f}" r="4.5"/>' if np.isfinite(center) else ""
    start = f'x="{_NAME_WIDTH - 12}" y="{middle + 4:.0f}"'
    return (
        f'<g class="{kind}"><title>{escape(told)}, Holm p {format_p(effect.holm)}</title>'
        f'<text class="name" {start} text-anchor="end">{escape(_shorten(name))}</text>{line}{dot}</g>'
    )


def scatter(marks: Sequence[Mark], mask_title: str, depth_title: str) -> str:
    """Draw mask against depth, a cross of intervals each: what is gained in one may be lost in the other."""
    width, height, left, bottom = 760, 440, 70, 380
    names_all = len(marks) <= _MOST_NAMED
    drawn = 3 if names_all else 1  # mean, low and high, or the mean alone
    across, across_ticks = _axis([number for mark in marks for number in mark.mask[:drawn]], left, width - 30)
    up, up_ticks = _axis([number for mark in marks for number in mark.depth[:drawn]], bottom, 20)
    parts = [
        f'<line class="grid" x1="{across(t):.1f}" x2="{across(t):.1f}" y1="20" y2="{bottom}"/>'
        f'<text class="tick" x="{across(t):.1f}" y="{bottom + 18}" text-anchor="middle">{t:.4g}</text>'
        for t in across_ticks
    ]
    parts += [
        f'<line class="grid" x1="{left}" x2="{width - 30}" y1="{up(t):.1f}" y2="{up(t):.1f}"/>'
        f'<text class="tick" x="{left - 8}" y="{up(t) + 4:.1f}" text-anchor="end">{t:.4g}</text>'
        for t in up_ticks
    ]
    turned = f'transform="translate(16 {bottom / 2:.0f}) rotate(-90)"'
    for place, title in ((f'x="{(left + width) / 2:.0f}" y="{height - 16}"', mask_title), (turned, depth_title)):
        parts.append(f'<text class="axis" {place} text-anchor="middle">{title} &#8594;</text>')
    # The later drawn lie on top: the control and what is better shall not be hidden.
    order = ("open", "worse", "better", "control")
    taken = [(across(mark.mask[0]) - 6, up(mark.depth[0]) - 6, 12.0, 12.0) for mark in marks]
    for mark in sorted(marks, key=lambda mark: order.index(mark.kind)):
        x, y = across(mark.mask[0]), up(mark.depth[0])
        # The crosses of a hundred combinations would hide their means.
        ends = ([across(end) for end in mark.mask[1:]], [up(end) for end in mark.depth[1:]]) if names_all else ([], [])
        parts.append(_cross(mark, *ends, x, y))
        if names_all or mark.kind in ("better", "control"):
            parts.append(_label(mark, x, y, taken, width))
    return _svg(width, height, f"{mask_title} against {depth_title} of every combination", parts)


def _axis(numbers: list[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """Give the scale that maps numbers to [start, end] px, and its ticks."""
    finite = [number for number in numbers if np.isfinite(number)] or [0.0]
    room = 0.06 * (max(finite) - min(finite)) or 0.01
    low, high = min(finite) - room, max(finite) + room
    return (lambda number: start + (end - start) * (number - low) / (high - low)), ticks(low, high)


def _cross(mark: Mark, across: list[float], up: list[float], x: float, y: float) -> str:
    told = f"{mark.name}: {mark.mask[0]:.3f}, {mark.depth[0]:.3f}"
    has_interval = across and np.isfinite([*across, *up]).all()
    lines = (
        f'<line x1="{across[0]:.1f}" x2="{across[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up[0]:.1f}" y2="{up[1]:.1f}"/>'
        if has_interval
        else ""
    )
    shape = (
        f'<path d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z"/>'
        if mark.kind == "control"
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    )
    return f'<g class="{mark.kind} cross"><title>{escape(told)}</title>{lines}{shape}</g>'


def _label(mark: Mark, x: float, y: float, taken: list[tuple[float, float, float, float]], width: float) -> str:
    """Write a name beside its mark where no other stands; where there is no room, its title has to do."""
    text = _shorten(mark.name)
    length = 6.6 * len(text)
    for left, top in ((x + 10, y - 16), (x + 10, y + 4), (x - 10 - length, y - 16), (x - 10 - length, y + 4)):
        box = (left, top, length, 14.0)
        if left >= 70 and left + length <= width and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return f'<text class="name" x="{left:.1f}" y="{top + 11:.1f}">{escape(text)}</text>'
    return ""


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def curves(points: pd.DataFrame, metric: str, kinds: dict[str, str]) -> str:
    """Draw how a metric went over the epochs, one line for each combination: the mean of its seeds.

    Args:
        points: Rows of `combination`, `seed`, `epoch`, `metric` and `value`.
        metric: Which of them to draw.
        kinds: What each combination is drawn as: control, better, worse or open.
    """
    width, left, bottom = 532, 56, 230
    mean = points[points["metric"] == metric].groupby(["combination", "epoch"])["value"].mean().unstack("epoch")
    epochs = mean.columns.to_numpy(float)
    across, across_ticks = _axis(list(epochs), left, width - 12)
    up, up_ticks = _axis(list(mean.to_numpy().ravel()), bottom, 14)
    parts = [
        f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text class="tick" x="{left - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        for tick in up_ticks
    ]
    parts += [
        f'<text class="tick" x="{across(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
        for tick in across_ticks
        if tick == round(tick)
    ]
    parts.append(f'<text class="axis" x="{(left + width) / 2:.0f}" y="{bottom + 38}" text-anchor="middle">epoch</text>')
    for name in sorted(mean.index, key=lambda name: ("open", "worse", "better", "control").index(kinds[name])):
        numbers = mean.loc[name].dropna()
        seen = zip(map(across, numbers.index), map(up, numbers), strict=True)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in seen)
        parts.append(f'<g class="{kinds[name]} curve"><title>{escape(name)}</title><polyline points="{line}"/></g>')
    return _svg(width, bottom + 46, f"{metric} over the epochs", parts)


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "\u2026"


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
