"""What a person reads first on a run's page: one Markdown card with the result, and with what makes it again."""

import shlex
from collections.abc import Mapping

from maskdepth.metrics.catalogue import METRICS
from maskdepth.process.files import parse_json

# Stands for the run's own number, which is not known before there is a run.
RUN_ID = "{run_id}"
# Predictors that have learned nothing: the beginnings of their metrics.
_BASELINES = ("difference", "mean_map", "ramp", "remembered")
_ARROWS = {"high": " \u2191", "low": " \u2193", "neither": ""}


def write_card(
    numbers: Mapping[str, float],
    params: Mapping[str, str],
    shown: tuple[str, ...],
    commit: str,
    changed: str,
    picture: str,
) -> str:
    """Write the card of a run.

    Args:
        numbers: Of the test split.
        params: All settings.
        shown: Keys of those that tell the run from others.
        commit: The commit that it was run in, "" where there is none.
        changed: Files that were not as in that commit, "" where all were.
        picture: Path of a picture among the run's artifacts, "" where there is none.
    """
    parts = [f"**score {numbers['score']:.3f}**"] if "score" in numbers else []
    parts += _tabulate(numbers)
    if picture:
        parts.append(f"![test samples](get-artifact?path={picture}&run_uuid={RUN_ID})")
    parts += [
        f"The same again{f', with the changes that were in {changed}' if changed else ''}:",
        "```\n" + "\n".join(repeat_command(params, shown, commit)) + "\n```",
    ]
    return "\n\n".join(parts)


def find_baselines(numbers: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Part the numbers of what has learned nothing from the rest, by a reader's name for it and by metric.

    >>> find_baselines({"mask_iou": 0.9, "difference_mask_iou": 0.7, "mean_map_depth_ssim": 0.5})
    {'difference': {'mask_iou': 0.7}, 'mean map': {'depth_ssim': 0.5}}
    """
    found: dict[str, dict[str, float]] = {}
    for start in _BASELINES:
        own = {name: numbers[f"{start}_{name}"] for name in METRICS if f"{start}_{name}" in numbers}
        if own:
            found[start.replace("_", " ")] = own
    return found


def headline_rows(numbers: Mapping[str, float]) -> list[list[str]]:
    """Give a row for each metric of which more is known than its mean: an interval, or what learned nothing.

    Returns:
        The metric with an arrow to its better side, the network, its interval, the best of what learned nothing, and
        a mark where that is better, or where it is not shown sample by sample that the network is.
    """
    baselines = find_baselines(numbers)
    rows = []
    for metric in (name for name in numbers if name in METRICS):
        has_interval = f"{metric}_low" in numbers and f"{metric}_high" in numbers
        sign = -1 if METRICS[metric] == "low" else 1
        untrained = max(
            ((sign * own[metric], title) for title, own in baselines.items() if metric in own), default=None
        )
        if untrained is None and not has_interval:
            continue
        interval = f"{numbers[f'{metric}_low']:.3f} .. {numbers[f'{metric}_high']:.3f}" if has_interval else ""
        beside = f"{sign * untrained[0]:.3f} {untrained[1]}" if untrained else ""
        mark = "" if numbers.get(f"{metric}_beats_all", 1) else "not shown"
        if untrained and sign * numbers[metric] < untrained[0]:
            mark = "worse"
        name = f"{metric}{_ARROWS[METRICS[metric]]}"
        rows.append([name, f"{numbers[metric]:.3f}", interval, beside, mark])
    return rows


def repeat_command(params: Mapping[str, str], shown: tuple[str, ...], commit: str) -> list[str]:
    """Give the commands that run the same again."""
    settings = " ".join(f"-S {shlex.quote(f'{key}={_as_yaml(params[key])}')}" for key in shown if key in params)
    return [*([f"git checkout {commit}"] if commit else []), f"dvc exp run {settings}"]


def read_numbers(text: str) -> dict[str, float]:
    """Read the numbers of a flat JSON object, and nothing else that may stand in it.

    Raises:
        ValueError: It is no JSON object.
    """
    values = parse_json(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object of numbers, found {type(values).__name__}")
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def _tabulate(numbers: Mapping[str, float]) -> list[str]:
    rows = headline_rows(numbers)
    if not rows:
        return []
    titles = ["test metric", "network", "95 % interval", "learned nothing", ""]
    table = [titles, ["---"] * len(titles), *rows]
    return ["\n".join(f"| {' | '.join(row)} |" for row in table)]


def _as_yaml(value: str) -> str:
    return f"[{value}]" if "," in value else value
