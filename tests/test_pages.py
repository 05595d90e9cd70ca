"""The pages that people open, in a real browser: MLflow's lists, charts, runs and comparisons, and the answer.

With MASKDEPTH_SCREENSHOTS set to a folder, pictures of the same pages are kept there.
"""

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from faults.doors import tracking_server
from support.browser import draw_page, read_page, require_browser
from support.compared import send_runs

from maskdepth.answer import answer, write_answer
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.store import connect
from maskdepth.tracking.views import page_links

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

GAINS = {"bce+dice|l1+ssim": 0.0, "dice|ssim": 0.03, "mse|mse": -0.05, "bce|l1": 0.0}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server with twelve runs; its connection and the folder of the answer."""
    require_browser()
    root, folder = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("server")
    (root / ".dvc").mkdir()
    with pytest.MonkeyPatch.context() as patch, tracking_server(folder) as port:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
            patch.delenv(name)
        patch.setenv("DVC_ROOT", str(root))
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        patch.chdir(root)
        send_runs(root, GAINS)
        list(write_answer(answer(EXPERIMENT, None), root / "answer.html", None, None))
        yield connect(locate_store()), root


def open_page(url: str, name: str, width: int = 2200, height: int = 1400, milliseconds: int = 30_000) -> str:
    folder = os.environ.get("MASKDEPTH_SCREENSHOTS")
    if folder:
        draw_page(url, Path(folder) / f"{name}.png", width, height, milliseconds)
    return read_page(url, width, height, milliseconds)


def links(connection):
    return page_links(connection.store, connection.experiments[EXPERIMENT])


def test_the_list_of_runs_shows_combinations_seeds_and_scores(site):
    page = open_page(links(site[0])["runs"], "runs")
    assert "dice|ssim-s0" in page
    assert "test/score" in page
    assert "test/mask_iou" in page
    assert "loss.mask" in page


def test_the_charts_are_grouped_over_seeds_with_the_score_first(site):
    page = open_page(links(site[0])["means over seeds"], "means", height=2600, milliseconds=60_000)
    assert "Group: dice|ssim" in page
    assert "Group by: loss.signature" in page
    assert page.index("test/score") < page.index("test/mask_iou")


def test_the_same_samples_of_several_runs_stand_side_by_side(site):
    page = open_page(links(site[0])["runs"] + "&compareRunsMode=CHART", "charts", height=2600, milliseconds=60_000)
    assert "The same samples by every run" in page
    assert "pictures/fixed" in page


def test_a_run_shows_its_card_few_settings_and_three_data_sets(site):
    connection, _ = site
    (run, *_) = connection.client.search_runs([connection.experiments[EXPERIMENT]])
    page = open_page(f"{connection.store.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}", "run")
    assert "learned nothing" in page
    always = {"loss.mask", "loss.depth", "model.name", "train.epochs", "train.seed"}
    assert set(run.data.params) == always | {"evaluate.threshold"}  # this workspace has its own
    assert f"Parameters ({len(run.data.params)})" in page
    assert "train (" in page
    assert len(run.data.metrics) <= 30
    assert len([name for name in run.data.tags if not name.startswith("mlflow.")]) <= 5


def test_four_runs_compared_show_what_differs(site):
    connection, _ = site
    found = connection.client.search_runs([connection.experiments[EXPERIMENT]], "params.`train.seed` = '0'")
    ids = quote(json.dumps([run.info.run_id for run in found]))
    page = open_page(f"{connection.store.uri}/#/compare-runs?runs={ids}&experiments=%5B%221%22%5D", "compare")
    assert "Comparing 4 Runs" in page
    assert "loss.depth" in page


def test_the_answer_opens_from_a_file_with_its_verdict_and_pictures(site):
    page = open_page((site[1] / "answer.html").as_uri(), "answer", width=1250, height=2400)
    assert "is better than bce+dice|l1+ssim: dice|ssim" in page
    assert page.count("data:image/png") == 8
