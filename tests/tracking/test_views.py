"""MLflow's pages open with what people look for: ready-made views, and links to them from every folder."""

import json
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from maskdepth.tracking.address import EXPERIMENT, Store, locate_store
from maskdepth.tracking.store import connect
from maskdepth.tracking.views import experiment_views, missing_views, page_links, viewer_command

NO_TAG_IS_LONGER = 5000  # [characters] that every database of MLflow's takes


def test_the_views_sort_by_score_and_show_the_combination_and_no_loss():
    for value in experiment_views().values():
        view = json.loads(value)
        assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`test/score`", False)
        assert "params.`loss.mask`" in view["selectedColumns"]
        drawn = [chart.get("metricKey", "") for chart in view["compareRunCharts"] if chart["type"] == "BAR"]
        assert drawn[0] == "test/score"
        assert not any("loss" in metric for metric in drawn)
        assert len(value) < NO_TAG_IS_LONGER


def test_one_view_is_grouped_over_seeds():
    grouped = [json.loads(value).get("groupBy") for value in experiment_views().values()]
    assert [found and found["groupByKeys"][0]["groupByData"] for found in grouped] == [None, "loss.signature"]


def test_a_view_that_is_there_is_not_written_again():
    assert missing_views(experiment_views()) == {}
    assert len(missing_views({"mlflow.sharedViewState.maskdepth": "{}"})) == 2


@pytest.mark.parametrize(
    ("uri", "start", "command"),
    [
        ("http://runs.example.org:5000/", "http://runs.example.org:5000/#/experiments/7/", ""),
        (f"sqlite:///{Path.cwd()}/mlflow.db", "http://127.0.0.1:5000/#/experiments/7/", "mlflow ui"),
        (
            "sqlite:////srv/my runs.db",
            "http://127.0.0.1:5000/#/experiments/7/",
            "mlflow ui --backend-store-uri 'sqlite:////srv/my runs.db'",
        ),
    ],
)
def test_links_lead_to_the_store_wherever_one_is(uri, start, command):
    store = Store(Path.cwd(), uri)
    assert all(link.startswith(start) for link in page_links(store, "7").values())
    assert viewer_command(store) == command


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_store_that_lets_no_view_be_written_is_opened_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise MlflowException("read-only")

    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_experiment_tag", refuse)
        connection = connect(locate_store())
    assert missing_views(connection.client.get_experiment(connection.experiments[EXPERIMENT]).tags)
    again = connect(locate_store())
    assert not missing_views(again.client.get_experiment(again.experiments[EXPERIMENT]).tags)
