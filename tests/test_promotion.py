"""From runs in a real store to a champion: only what is better becomes one, it says why, and none is lost."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from faults.doors import tracking_server
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from support.compared import send_run, send_runs
from support.simulated import World

from maskdepth.promotion import promote
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.history import open_history
from maskdepth.tracking.model import NETWORK_PATH
from maskdepth.tracking.outbox import MODEL
from maskdepth.tracking.registry import only_promotion
from maskdepth.tracking.sqlite import relocate
from maskdepth.tracking.weights import download_weights

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ROOT = Path(__file__).parents[1]
# Two metrics of the mask gain and nothing loses; the next is a trade; the last cannot be told from the first.
GAINS = {
    "bce|ssim": 0.0,
    "dice|ssim": 0.05,
    "mse|mse": np.array([0.05, 0.05, -0.08, -0.08, -0.08, -0.08]),
    "iou|ssim": 0.0015,
    "bce|l1": 0.1,
}


def make_root(folder: Path) -> Path:
    (folder / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def enter(patch, root: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        patch.delenv(name)
    patch.setenv("DVC_ROOT", str(root))
    patch.chdir(root)


def give_models(names=None) -> None:
    """Give runs a model as the report does, but with a stand-in for the network, which nothing here looks into."""
    history = open_history(EXPERIMENT)
    for run in history.runs:
        if names is None or run.name in names:
            give_model(history.client, history.experiment_id, run.run_id, "weights")


def give_model(client: MlflowClient, experiment_id: str, run_id: str, content: str) -> str:
    model = client.create_logged_model(experiment_id, "model", source_run_id=run_id)
    folder = Path("logged")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / NETWORK_PATH).parent.mkdir(parents=True)
    (folder / NETWORK_PATH).write_text("exported")
    (folder / MODEL).write_text(content)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A repository in which combinations have run with three seeds, and some runs that cannot be compared."""
    root = make_root(tmp_path_factory.mktemp("recorded") / "root")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, root)
        send_runs(root, GAINS)
        give_models()
        send_run(root, "iou|l1", 0, None)  # without a model and a table
        send_runs(root, {"dice|l1": 0.0}, seeds=1, split="9" * 32)
        send_runs(root, {"mse|ssim": 0.05}, seeds=2)
        give_models(["dice|l1-s0", "mse|ssim-s0"])
    return root


@pytest.fixture
def root(recorded, tmp_path, monkeypatch):
    """A store of its own with the recorded runs and no champion."""
    root = tmp_path / "root"
    shutil.copytree(recorded, root)
    enter(monkeypatch, root)
    relocate(recorded, root)
    return root


def run_promotion(name: str, metric: str = "score", anyway: str | None = None) -> str:
    return "\n".join(promote(name, metric, anyway))


def refuse(name: str, metric: str = "score", anyway: str | None = None) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        run_promotion(name, metric, anyway)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def champion():
    return open_history(EXPERIMENT).client.get_model_version_by_alias("maskdepth", "champion")


def number_of(version) -> int:
    return int(version.version)  # which a file has as a number and a server as a text


def run_id_of(name: str) -> str:
    return next(run.run_id for run in open_history(EXPERIMENT).runs if run.name == name)


def tags_of(version) -> dict[str, str]:
    return {name.removeprefix("maskdepth."): value for name, value in version.tags.items()}


def test_the_first_promotion_needs_no_comparison_and_says_so(root):
    told = run_promotion("bce|ssim-s0")
    assert told.endswith("it is champion; there was no champion to compare it with")
    found = champion()
    assert (number_of(found), found.run_id) == (1, run_id_of("bce|ssim-s0"))
    assert found.description == "First champion: there was no champion to compare it with."
    assert tags_of(found)["decision"] == "first"
    assert run_promotion("bce|ssim-s0") == "bce|ssim-s0 is the champion already: version 1 of maskdepth"


def test_a_better_one_takes_the_alias_and_both_versions_tell_of_it(root):
    run_promotion("bce|ssim-s1")
    told = run_promotion("dice|ssim-s0")
    assert "it is champion in place of version 1, bce|ssim-s1: dice|ssim is better in mask IoU (+" in told
    assert told.endswith("; worse in nothing")
    found = champion()
    assert (number_of(found), found.run_id) == (2, run_id_of("dice|ssim-s0"))
    known = tags_of(found)
    assert known["decision"] == "better"
    assert known["compared_with"] == "version 1, bce|ssim-s1"
    assert (known["metric"], known["seeds"], known["places"]) == ("score", "3", "30")
    assert re.fullmatch(r"\+\d\.\d points \[\+.*\] p 0\.\d+", known["mask_iou"])
    assert "| mask IoU | +" in found.description
    assert "Paired over 3 seeds, 300 test samples, 30 places" in found.description
    loser = open_history(EXPERIMENT).client.get_model_version("maskdepth", "1")
    assert tags_of(loser)["beaten_by"] == "version 2, dice|ssim-s0"


def test_what_cannot_be_told_is_refused_with_the_seeds_that_might_decide(root):
    run_promotion("bce|ssim-s0")
    told = refuse("iou|ssim-s0")
    assert told.startswith("champion stays version 1, bce|ssim-s0: iou|ssim is not shown to be better in mask IoU (")
    assert "of both might decide" in told or "50 seeds would not show so little on these test places" in told
    assert number_of(champion()) == 1
    tried = open_history(EXPERIMENT).client.get_model_version("maskdepth", "2")
    assert tags_of(tried)["decision"] == "not better"
    assert refuse("iou|ssim-s0") == told  # and no third version
    assert len(open_history(EXPERIMENT).client.search_model_versions("name='maskdepth'")) == 2


def test_what_is_better_in_one_and_worse_in_another_is_refused(root):
    run_promotion("bce|ssim-s0")
    told = refuse("mse|mse-s0")
    assert ": mse|mse is better in mask IoU (+" in told
    assert "; but worse in depth SSIM (-" in told
    assert number_of(champion()) == 1


def test_a_metric_of_ones_own_decides_alone(root):
    run_promotion("bce|ssim-s0")
    assert "better in boundary IoU (+" in run_promotion("dice|ssim-s0", "mask_boundary_iou")
    assert refuse("bce|l1-s0", "mask_iuo") == (
        "--metric mask_iuo: did you mean mask_iou? known: score, mask_iou, mask_boundary_iou, depth_ssim, "
        "depth_ssi_mae, depth_mae, depth_mae_foreground"
    )


def test_a_reason_overrules_and_is_recorded_beside_the_numbers(root):
    run_promotion("dice|ssim-s0")
    told = run_promotion("bce|ssim-s0", anyway="the other fails on glass")
    assert "promoted anyway, because the other fails on glass; the comparison says: bce|ssim is worse in" in told
    known = tags_of(champion())
    assert known["decision"] == "anyway"
    assert "the other fails on glass" in known["reason"]
    assert known["mask_iou"].startswith("-")
    assert refuse("dice|ssim-s0", anyway=" ") == "--anyway wants a reason, which is written on the model"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dice|l1-s0", "dice|l1-s0 cannot be compared with bce|ssim-s0: other split"),
        ("bce|ssim-s1", "bce|ssim-s1 and bce|ssim-s0 differ in their seed alone, which is luck and no reason"),
        ("mse|ssim-s0", "they share 2 seeds, and a claim takes 3 seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_says_why(root, name, message):
    run_promotion("bce|ssim-s0")
    told = refuse(name)
    assert told.startswith("champion stays version 1, bce|ssim-s0: ")
    assert message in told
    assert "the comparison says: " in run_promotion(name, anyway="I know better")
    assert champion().run_id == run_id_of(name)


def test_a_run_of_the_same_settings_and_seed_stands_for_the_older_one(root):
    run_promotion("bce|ssim-s0")
    older = run_id_of("dice|ssim-s0")
    samples = World(seeds=3, places=30).measure(GAINS)
    send_run(root, "dice|ssim", 0, samples[(samples["combination"] == "dice|ssim") & (samples["seed"] == 0)])
    assert refuse("dice|ssim-s0").startswith("2 runs are called dice|ssim-s0; name one by its id, newest first: ")
    assert "is a newer run of dice|ssim with seed 0: promote that one" in refuse(older[:12])


def test_what_is_no_run_with_a_model_is_refused(root):
    assert "no run or DVC experiment 'dice|ssim-s9'" in refuse("dice|ssim-s9")
    assert re.search(r"did you mean dice\|ssim-s\d\?", refuse("dice|ssim-s9"))
    assert "no run or DVC experiment" in refuse('it\'s "nothing"')
    assert "iou|l1-s0" in refuse("iou|l1-s0")
    assert "has no model; its tag maskdepth says why under model.export" in refuse("iou|l1-s0")


def test_a_model_whose_files_or_entry_are_gone_is_refused(root):
    history = open_history(EXPERIMENT)
    made = give_model(history.client, history.experiment_id, run_id_of("iou|l1-s0"), "weights")
    shutil.rmtree(history.client.get_logged_model(made).artifact_location)
    told = refuse("iou|l1-s0")
    assert told.startswith("the model of iou|l1-s0 (")
    assert told.endswith("delete the run in MLflow and make it again with `dvc repro -f -s report`")
    history.client.delete_logged_model(made)
    assert refuse("iou|l1-s0") == told


def test_a_champion_whose_run_is_gone_can_only_be_replaced_for_a_reason(root):
    run_promotion("bce|ssim-s0")
    open_history(EXPERIMENT).client.delete_run(run_id_of("bce|ssim-s0"))
    assert "is gone, so that nothing can be compared with it" in refuse("dice|ssim-s0")
    assert "it is champion" in run_promotion("dice|ssim-s0", anyway="its run was deleted")


def test_a_dvc_experiment_and_the_beginning_of_an_id_name_a_run(root):
    history = open_history(EXPERIMENT)
    history.client.set_tag(run_id_of("dice|ssim-s0"), "dvc.exp.name", "dice-ssim-s0")
    assert run_promotion("dice-ssim-s0").startswith("dice|ssim-s0 (")
    assert run_promotion(run_id_of("dice|ssim-s0")[:10]).startswith("dice|ssim-s0 is the champion already")


def test_without_a_store_or_with_one_that_is_away_one_line_says_so(tmp_path, monkeypatch):
    enter(monkeypatch, make_root(tmp_path / "fresh"))
    assert "mlflow.db: no store here, so no runs" in refuse("any")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert refuse("any") == "http://127.0.0.1:9: [Errno 111] Connection refused"


def fetch(name: str) -> str:
    return next(download_weights(name)).read_text()


def test_the_network_of_the_champion_can_be_fetched_and_an_alias_that_is_not_there_is_named(root):
    with pytest.raises(ValueError, match=r"`maskdepth promote` makes a champion, `mlflow ui` shows what there is$"):
        fetch("models:/maskdepth@champion")
    run_promotion("bce|ssim-s0")
    assert fetch("models:/maskdepth@champion") == "weights"
    with pytest.raises(ValueError, match=r"alias challenger not found"):
        fetch("models:/maskdepth@challenger")


# Several at once

PROMOTE = (
    "import sys; from maskdepth.promotion import promote; print(*promote(sys.argv[1], 'score', None), sep=chr(10))"
)


def start_promotion(root: Path, name: str, **environment: str) -> subprocess.Popen:
    surroundings = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(root)} | environment
    return subprocess.Popen(
        [sys.executable, "-c", PROMOTE, name], cwd=root, env=surroundings, stdout=-1, stderr=-1, text=True
    )


@pytest.mark.slow
def test_of_two_promotions_at_once_the_later_compares_with_the_winner_of_the_earlier(root):
    run_promotion("bce|ssim-s0")
    both = {name: start_promotion(root, name) for name in ("dice|ssim-s0", "bce|l1-s0")}
    told = {name: process.communicate() for name, process in both.items()}
    # The one is better than the champion, the other better than both: whoever comes first, it ends with the best.
    assert champion().run_id == run_id_of("bce|l1-s0")
    assert "it is champion in place of" in told["bce|l1-s0"][0]
    weaker = "".join(told["dice|ssim-s0"])
    assert "in place of version 1, bce|ssim-s0" in weaker or ": dice|ssim is worse in" in weaker


def test_a_promotion_that_died_does_not_hold_the_next_one_and_one_that_lives_does(root, monkeypatch):
    client = open_history(EXPERIMENT).client
    here = os.uname().nodename
    client.create_registered_model("maskdepth-promotion-under-way", description=f"{here}, process 1 0 another-boot")
    assert "it is champion" in run_promotion("bce|ssim-s0")
    monkeypatch.setattr("maskdepth.tracking.registry._PATIENCE_SECONDS", 0.1)
    client.create_registered_model("maskdepth-promotion-under-way", description="elsewhere, process 1 0 boot")
    told = refuse("dice|ssim-s0")
    assert told.startswith("another promotion has been under way for over 0 s (elsewhere, process 1 0 boot); ")
    assert told.endswith("delete the registered model maskdepth-promotion-under-way in MLflow")
    client.delete_registered_model("maskdepth-promotion-under-way")
    with only_promotion(client), pytest.raises(Exception, match=r"promotion\.lock"), only_promotion(client):
        pass


@pytest.mark.nightly
def test_promotion_works_on_a_server(tmp_path, monkeypatch):
    root = make_root(tmp_path / "root")
    enter(monkeypatch, root)
    with tracking_server(tmp_path) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        send_runs(root, {"bce|ssim": 0.0, "dice|ssim": 0.05}, places=10)
        give_models(["bce|ssim-s0", "dice|ssim-s0"])
        run_promotion("bce|ssim-s0")
        assert "it is champion in place of version 1" in run_promotion("dice|ssim-s0")
        assert champion().run_id == run_id_of("dice|ssim-s0")
        assert fetch("models:/maskdepth@champion") == "weights"
    assert locate_store().database is None
