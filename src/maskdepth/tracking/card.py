"""What a person reads first: of a run its result and what makes it again, of a model also what it is and is not for."""

import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from maskdepth.metrics.names import HEADLINE, METRICS
from maskdepth.process.files import parse_json
from maskdepth.tracking.outbox import DataVersion

CARD_FILE = "README.md"
# Stands for the run's own number, which is not known before there is a run.
RUN_ID = "{run_id}"
# Predictors that have learned nothing: the beginnings of their metrics.
_BASELINES = ("difference", "mean_map", "ramp", "remembered", "copied_background", "plane_under_mask")
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
    parts = _result(numbers)
    if picture:
        parts.append(f"![test samples](get-artifact?path={picture}&run_uuid={RUN_ID})")
    return "\n\n".join([*parts, *_again(params, shown, commit, changed)])


def write_model_card(
    name: str,
    numbers: Mapping[str, float],
    params: Mapping[str, str],
    shown: tuple[str, ...],
    commit: str,
    changed: str,
    data: Sequence[DataVersion],
) -> str:
    """Write the card of a model, in the form of Hugging Face's.

    Args:
        name: Of the run that made it.
        numbers: As for `write_card`, and likewise `params`, `shown`, `commit` and `changed`.
        data: What it was trained and measured on.
    """
    measured = [metric for metric in HEADLINE if metric in numbers]
    lists = {"tags": ("image-segmentation", "depth-estimation", "relative-depth"), "metrics": measured}
    front = ["---", "license: mit", "library_name: maskdepth", "pipeline_tag: image-segmentation"]
    front += [line for key, values in lists.items() for line in (f"{key}:", *(f"- {value}" for value in values))]
    side = params.get("data.image_size", "?")
    sizes = [f"* {used.name}: {used.rows:,} samples (`{used.digest}`)" for used in data]
    doubted = [row[0] for row in headline_rows(numbers) if row[-1]]
    parts = [
        "\n".join([*front, "---"]),
        f"# {name}",
        f"One network, `{params.get('model.name', '?')}`, that is shown a scene without and with an object and "
        "predicts the object's mask and the scene's relative depth. It was trained with the losses "
        f"`{params.get('loss.mask', '?')}` (mask) and `{params.get('loss.depth', '?')}` (depth).",
        "## Results",
        *_result(numbers),
        "On the test split; the intervals are over other places and objects of the kind. What has learned nothing is "
        "the best of a thresholded difference, a mean map, a ramp, and the remembered map of a known place.",
        "## Training data",
        "\n".join([*sizes, f"* pictures of {side} x {side} px, split by {params.get('split.by', '?')}"]),
        "## Limits",
        "\n".join(
            [
                f"* It sees {side} x {side} px; what is finer is lost, whatever the size of the picture.",
                "* Depth is relative, 0 near and 1 far: no metres, and no comparison between scenes.",
                "* Both pictures must show one view. A camera that moved a little and other light are put back first.",
                "* Scenes and objects unlike those of its data were not measured.",
                *([f"* Not shown to beat what has learned nothing: {', '.join(doubted)}"] if doubted else []),
            ]
        ),
        "## How to use it",
        f"It needs maskdepth {version('maskdepth')}, torch {version('torch')} and mlflow {version('mlflow')}; "
        "`docs/SERVING.md` of maskdepth says what it takes and answers.",
        f"```bash\nmaskdepth promote {shlex.quote(name)}\n"
        "mlflow models serve -m models:/maskdepth@champion --env-manager local\n```",
        "`artifacts/network.pt2` needs torch alone: `torch.export.load(path).module()(background, composite)` takes "
        "(batch, 3, height, width), RGB in [0, 1], and gives mask probability and depth.",
        *_again(params, shown, commit, changed),
    ]
    return "\n\n".join(parts) + "\n"


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


def _result(numbers: Mapping[str, float]) -> list[str]:
    """Write the score and the table of the metrics of which more than a mean is known, as far as there are any."""
    score = [f"**score {numbers['score']:.3f}**"] if "score" in numbers else []
    rows = headline_rows(numbers)
    if not rows:
        return score
    titles = ["test metric", "network", "95 % interval", "learned nothing", ""]
    table = [titles, ["---"] * len(titles), *rows]
    return [*score, "\n".join(f"| {' | '.join(row)} |" for row in table)]


def _again(params: Mapping[str, str], shown: tuple[str, ...], commit: str, changed: str) -> list[str]:
    return [
        f"The same again{f', with the changes that were in {changed}' if changed else ''}:",
        "```\n" + "\n".join(repeat_command(params, shown, commit)) + "\n```",
    ]


def _as_yaml(value: str) -> str:
    return f"[{value}]" if "," in value else value
