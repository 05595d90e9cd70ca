"""How MLflow's pages show our runs: ready-made views that a link opens, kept as tags of the experiment.

MLflow's own list shows no metric and no setting, its charts are in the order of the alphabet, and its first page is for
language models. What a person sets up and shares there is a tag with JSON in it, which can be written from here, too.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskdepth.tracking.address import Store

RUNS_VIEW, MEANS_VIEW = "maskdepth", "maskdepth-means"

_PREFIX = "mlflow.sharedViewState."
# A score first, then what it is made of.
_COLUMNS = ("test/score", "test/mask_iou", "test/depth_ssim", "test/depth_ssi_mae")
_BARS = (*_COLUMNS, "test/mask_boundary_iou", "test/depth_mae_foreground")
_CURVES = ("val/mask_iou", "val/depth_ssim", "val/loss")
_SETTINGS = ("loss.mask", "loss.depth", "train.seed")
_PICTURES = "pictures/fixed"
# Of the charts that MLflow makes itself; losses are not comparable between runs, so they are folded away.
_FOLDED = ("train", "val", "test", "model", "Image grid")
_MOST_RUNS = 20
_ADDRESS = "http://127.0.0.1:5000"


def experiment_views() -> dict[str, str]:
    """Give the tags of an experiment that hold the views: the runs by score, and the means over seeds."""
    runs = _state()
    grouped = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "loss.signature"}],
        },
        "useGroupedValuesInCharts": True,
    }
    return {
        f"{_PREFIX}{RUNS_VIEW}": json.dumps(runs, sort_keys=True),
        f"{_PREFIX}{MEANS_VIEW}": json.dumps(runs | grouped, sort_keys=True),
    }


def missing_views(tags: Mapping[str, str]) -> dict[str, str]:
    """Give those tags that an experiment lacks, or has of another version."""
    return {name: value for name, value in experiment_views().items() if tags.get(name) != value}


def page_links(store: Store, experiment_id: str) -> dict[str, str]:
    """Give what to open in a browser, by what it shows; of a file once `viewer_command` has been started."""
    start = _ADDRESS if store.database is not None else store.address.rstrip("/")
    runs = f"{start}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return {
        "runs": f"{runs}&viewStateShareKey={RUNS_VIEW}",
        "means over seeds": f"{runs}&viewStateShareKey={MEANS_VIEW}&compareRunsMode=CHART",
    }


def viewer_command(store: Store) -> str:
    """Give the command that shows the pages of a file, from every folder; "" for a server, which shows its own.

    Without an address `mlflow ui` makes a new, empty store in any other folder, and says nothing.
    """
    if store.database is None:
        return ""
    is_here = store.database == Path("mlflow.db").resolve()
    return "mlflow ui" if is_here else f"mlflow ui --backend-store-uri {shlex.quote(store.uri)}"


def _state() -> dict[str, Any]:
    titles = ("Test", "The same samples by every run", "Validation")
    sections = [_section(title, is_open=True) for title in titles] + [_section(name, is_open=False) for name in _FOLDED]
    charts = [_chart("BAR", titles[0], metric, metricKey=metric) for metric in _BARS]
    axes = {
        "xaxis": {"type": "METRIC", "key": "test/mask_iou"},
        "yaxis": {"type": "METRIC", "key": "test/depth_ssim"},
    }
    charts.append(_chart("SCATTER", titles[0], "mask against depth", **axes))
    charts.append(_chart("IMAGE", titles[1], _PICTURES, imageKeys=[_PICTURES]))
    charts += [
        _chart("LINE", titles[2], metric, metricKey=metric, selectedMetricKeys=[metric], xAxisKey="step")
        for metric in _CURVES
    ]
    return {
        "orderByKey": f"metrics.`{_COLUMNS[0]}`",
        "orderByAsc": False,
        "selectedColumns": [f"params.`{name}`" for name in _SETTINGS] + [f"metrics.`{name}`" for name in _COLUMNS],
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _section(title: str, *, is_open: bool) -> dict[str, Any]:
    return {
        "uuid": title,
        "name": title,
        "display": is_open,
        "isReordered": True,
        "deleted": False,
        "isGenerated": not is_open,
    }


def _chart(kind: str, section: str, title: str, **what: Any) -> dict[str, Any]:
    own = {"type": kind, "uuid": f"{kind} {title}", "metricSectionId": section, "displayName": title}
    lines = {"lineSmoothness": 0, "scaleType": "linear", "xAxisScaleType": "linear", "range": {}}
    shared = {"runsCountToCompare": _MOST_RUNS, "isGenerated": False, "deleted": False}
    return own | shared | (lines if kind == "LINE" else {}) | what
