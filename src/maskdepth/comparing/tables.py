"""A comparison as tables: for a terminal of 80 columns, for Markdown, and in full for a spreadsheet."""

import numpy as np
import pandas as pd

from maskdepth.comparing.results import Answer, Comparison, Effect, Endpoint, Verdict
from maskdepth.comparing.telling import headline

# What a wide metric is called where there is little room.
_SHORT = {"mask IoU": "IoU", "boundary IoU": "boundary", "depth SSIM": "SSIM", "depth SSI-MAE": "SSI-MAE"}
_NOTHING = "-"
_DIFFERENCE_COLUMNS = (
    "combination",
    "metric",
    "verdict",
    "difference",
    "low",
    "high",
    "p",
    "holm",
    "places_won",
    "visible",
    "seeds",
    "samples",
    "places",
    "objects",
)


def terminal_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Give titles and rows of a table that fits 80 columns with names of up to 20 characters.

    Each endpoint has the difference to the control, points or MAE, with a star where it is shown; the control has its
    own means.
    """
    primary = [endpoint for endpoint in comparison.endpoints if endpoint.is_primary]
    titles = ["combination", "verdict", "seeds", *(_SHORT[endpoint.title] for endpoint in primary)]
    means = means_by_name(comparison)
    own = [f"{means[comparison.control, endpoint.metric][0]:.3f}" for endpoint in primary]
    rows = [[comparison.control, "control", str(control_seeds(comparison)), *own]]
    for answer in comparison.answers:
        shown = [tell_difference(effect) for effect in answer.effects if effect.endpoint.is_primary]
        verdict = "too few" if answer.verdict.startswith("too few") else str(answer.verdict)
        rows.append([answer.combination, verdict, str(answer.seeds), *shown])
    return titles, rows


def means_by_name(comparison: Comparison) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Give mean, low and high by combination and metric."""
    means = comparison.means
    names = zip(means["combination"].astype(str), means["metric"].astype(str), strict=True)
    numbers = means[["mean", "low", "high"]].to_numpy(float).tolist()
    return {name: (mean, low, high) for name, (mean, low, high) in zip(names, numbers, strict=True)}


def control_seeds(comparison: Comparison) -> int:
    """Count the seeds of the control."""
    means = comparison.means
    return int(means.loc[means["combination"] == comparison.control, "seeds"].iloc[0])


def tell_difference(effect: Effect) -> str:
    """Write a difference with its sign, in points where it is a share, with a star where it is shown."""
    star = "*" if effect.is_shown else ""
    return f"{format_difference(effect.endpoint, effect.difference)}{star}"


def format_difference(endpoint: Endpoint, difference: float) -> str:
    """Write a difference with its sign: shares in points, others with four decimals.

    >>> from maskdepth.comparing.results import ENDPOINTS
    >>> [format_difference(endpoint, -0.0149) for endpoint in ENDPOINTS[2:4]]  # SSIM and SSI-MAE
    ['-1.5', '-0.0149']
    >>> format_difference(ENDPOINTS[0], -0.0001), format_difference(ENDPOINTS[0], float("nan"))
    ('0.0', '-')
    """
    if not np.isfinite(difference):
        return _NOTHING
    shown = f"{100 * difference:+.1f}" if endpoint.is_share else f"{difference:+.4f}"
    return shown.lstrip("+-") if float(shown) == 0 else shown


def format_p(p: float) -> str:
    """Write a p value.

    >>> format_p(0.0004), format_p(0.03149), format_p(float("nan"))
    ('<0.001', '0.031', '-')
    """
    if not np.isfinite(p):
        return _NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(effect: Effect) -> str:
    """Write the 95 % interval of a difference, "-" where there is none."""
    if not np.isfinite(effect.low):
        return _NOTHING
    low, high = (format_difference(effect.endpoint, end) for end in (effect.low, effect.high))
    return f"[{low}, {high}]"


def as_markdown(comparison: Comparison) -> str:
    """Write verdict, table and sentences as Markdown.

    A bar in a name of a combination stands for itself, also within a table.
    """
    primary = [endpoint for endpoint in comparison.endpoints if endpoint.is_primary]
    titles = ["combination", "verdict", "seeds"]
    for endpoint in primary:
        titles += [endpoint.title, "minus control [95 %]", "Holm p"]
    means = means_by_name(comparison)
    control = [comparison.control, "control", str(control_seeds(comparison))]
    for endpoint in primary:
        control += [f"{means[comparison.control, endpoint.metric][0]:.3f}", "", ""]
    rows = [control, *(_markdown_row(answer, means) for answer in comparison.answers)]
    table = [_line(titles), _line(["---"] * len(titles)), *map(_line, rows)]
    sentences = [f"- {_escape(answer.sentence)}." for answer in comparison.answers]
    return "\n".join([_escape(headline(comparison)), "", *table, "", *sentences]) + "\n"


def _markdown_row(answer: Answer, means: dict[tuple[str, str], tuple[float, float, float]]) -> list[str]:
    verdict = f"**{answer.verdict}**" if answer.verdict is Verdict.BETTER else str(answer.verdict)
    row = [answer.combination, verdict, str(answer.seeds)]
    for effect in answer.effects:
        if effect.endpoint.is_primary:
            mean = f"{means[answer.combination, effect.endpoint.metric][0]:.3f}"
            difference = f"{format_difference(effect.endpoint, effect.difference)} {format_interval(effect)}"
            row += [mean, difference.removesuffix(f" {_NOTHING}"), format_p(effect.holm)]
    return row


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell if cell.startswith('**') else _escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Keep Markdown from taking a name for a cell's end, for emphasis or for HTML."""
    for special in "\\`*_|<>[]":
        text = text.replace(special, f"\\{special}")
    return text.replace("\n", " ").replace("\\[", "[").replace("\\]", "]")


def as_csv_table(comparison: Comparison) -> pd.DataFrame:
    """Give everything as one long table.

    Returns:
        One row per combination, the control included, and metric: `combination`, `control`, `verdict`, `metric`,
        `mean`, `mean_low`, `mean_high`, `difference`, `low`, `high`, `p`, `holm`, `places_won`, `visible`, `seeds`,
        `samples`, `places`, `objects`; differences are metric units, not points, and empty for the control.
    """
    rows = []
    for answer in comparison.answers:
        for effect in answer.effects:
            numbers = effect._asdict()
            endpoint: Endpoint = numbers.pop("endpoint")
            shared = {name: getattr(answer, name) for name in ("seeds", "samples", "places", "objects")}
            names = {"combination": answer.combination, "metric": endpoint.metric, "verdict": str(answer.verdict)}
            rows.append(names | numbers | shared)
    differences = pd.DataFrame(rows, columns=list(_DIFFERENCE_COLUMNS))
    means = comparison.means.rename(columns={"low": "mean_low", "high": "mean_high"}).drop(columns="seeds")
    table = means.merge(differences, on=["combination", "metric"], how="left")
    table["verdict"] = table["verdict"].fillna("control")
    table.insert(1, "control", comparison.control)
    return table[
        ["combination", "control", "verdict", "metric", "mean", "mean_low", "mean_high", *_DIFFERENCE_COLUMNS[3:]]
    ]
