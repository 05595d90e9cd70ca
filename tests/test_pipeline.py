"""The pipeline as a user runs it: a clone, drawn data, `dvc repro`, experiments, a queue, one MLflow store.

Everything is real (git, DVC, SQLite, processes); only the data set and the training are small.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from support.settings import copy_params, write_places
from support.toy import write_toy_archive

from maskdepth.metrics.names import HEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parent.parent
SMALL = {
    "epochs: 4": "epochs: 2",
    "name: dsunet ": "name: unet ",
    "image_size: 64": "image_size: 32",
}


class Clone:
    """A clone of this working tree with its own data, in which commands run as a user types them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Nothing of the tests' own surroundings may reach the stages, but for the interpreter.
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "MASKDEPTH_"))
        }
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MASKDEPTH_THREADS": "1",
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
        }  # fmt: skip

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command in the clone; return what it printed."""
        code, printed = self.attempt(*command)
        assert (code != 0) == fails, printed[-4000:]
        return printed

    def attempt(self, *command: str) -> tuple[int, str]:
        """Return also how it ended. It prints to a file: a pipe would keep `dvc queue start` from returning."""
        log = self.path.parent / "log.txt"
        with log.open("w") as file:
            done = subprocess.run(command, cwd=self.path, env=self.environment, stdout=file, stderr=file, check=False)
        return done.returncode, log.read_text()

    def reset(self) -> None:
        """Go back to the committed result, as one does between experiments."""
        self.run("git", "checkout", "-q", ".")
        self.run("dvc", "checkout", "-q")

    def change(self, old: str, new: str) -> None:
        path = self.path / "params.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    def numbers(self, name: str) -> dict:
        return json.loads((self.path / "metrics" / name).read_text())

    def rows(self, experiment: str = "maskdepth") -> pd.DataFrame:
        """Read the MLflow rows of an experiment straight from the store, one line per row with its tags."""
        with closing(sqlite3.connect(self.path / "mlflow.db")) as store, store:
            runs = pd.read_sql(
                "select r.run_uuid, r.name, r.status from runs r join experiments e using (experiment_id) "
                f"where e.name = '{experiment}' and r.lifecycle_stage = 'active' order by r.start_time",
                store,
            )
            tags = pd.read_sql("select run_uuid, key, value from tags", store)
            metrics = pd.read_sql("select run_uuid, key, count(*) n from metrics group by run_uuid, key", store)
            params = pd.read_sql("select run_uuid, key, value from params", store)
        for name, part in (("tags", tags), ("params", params)):
            runs[name] = [dict(part[part.run_uuid == run][["key", "value"]].to_numpy()) for run in runs.run_uuid]
        runs["dvc"] = [tags.get("dvc.exp.name", "") for tags in runs.tags]
        runs["points"] = [dict(metrics[metrics.run_uuid == run][["key", "n"]].to_numpy()) for run in runs.run_uuid]
        return runs


def make_clone(path: Path) -> Clone:
    """Copy what git would track, as it stands in the working tree, and draw one toy archive."""
    path.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    copy_params(path)
    write_places(path)
    clone = Clone(path)
    for old, new in SMALL.items():
        clone.change(old, new)
    (path / "data" / "raw").mkdir(parents=True)
    write_toy_archive(path / "data" / "raw", backgrounds=range(1, 25), foregrounds=range(1, 5), placements=[1])
    clone.run("git", "init", "-q")
    clone.run("dvc", "add", "-q", "data/raw")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "start")
    return clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """A clone whose pipeline has run once and is committed."""
    clone = make_clone(tmp_path_factory.mktemp("pipeline") / "clone")
    clone.first = clone.run("dvc", "repro")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first result")
    return clone


@pytest.fixture(scope="module")
def with_ssim(clone) -> str:
    """What an experiment with another loss, `with-ssim`, has printed."""
    clone.reset()
    return clone.run("dvc", "exp", "run", "-n", "with-ssim", "-S", "loss.depth=ssim")


@pytest.fixture(scope="module")
def strict(clone) -> str:
    """What an experiment with a threshold that tuning does not try, `strict`, has printed."""
    clone.reset()
    return clone.run("dvc", "exp", "run", "-n", "strict", "-S", "evaluate.threshold=0.99")


def ran(printed: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", printed)


def test_the_pipeline_runs_and_every_stage_says_what_it_did(clone):
    assert ran(clone.first) == ["unzip", "index", "stats", "split", "train", "evaluate", "report"]
    for stage in ("unzip", "index", "stats", "split", "train", "evaluate", "report"):
        # On a slow machine progress is told, too: `train: 7/22 after 10 s`, `report: sending, 4 rows done after 9 s`.
        assert len(re.findall(rf"^{stage}: (?!.* after \d+ s)\S.*$", clone.first, re.MULTILINE)) == 1


def test_a_second_repro_does_nothing(clone):
    assert ran(clone.run("dvc", "repro")) == []
    assert clone.run("git", "status", "--porcelain") == ""


def test_metrics_hold_the_network_and_the_baseline(clone):
    test = clone.numbers("test.json")
    assert list(test) == ["score", *HEADLINE, *(f"{name}_baseline" for name in HEADLINE), "num_samples"]
    assert "val_mask_iou" in clone.numbers("train.json")


def test_the_first_row_is_complete(clone):
    row = clone.rows().iloc[0]
    assert row.status == "FINISHED"
    assert row.params["loss.depth"] == "l1+ssim"
    assert row.points["val/mask_iou"] == 2
    assert row.points["test/mask_iou"] == 1
    assert set(clone.rows("maskdepth-data").tags.map(lambda tags: tags["maskdepth.stage"])) == {
        "unzip",
        "index",
        "stats",
        "split",
    }


def test_a_changed_loss_runs_train_and_evaluate_alone(clone, with_ssim):
    assert ran(with_ssim) == ["train", "evaluate", "report"]
    rows = clone.rows()
    assert rows.dvc.tolist().count("with-ssim") == 1
    row = rows[rows.dvc == "with-ssim"].iloc[0]
    assert row["name"] == "bce+dice|ssim-s0"
    assert (row.status, row.params["loss.depth"], row.points["test/depth_ssim"]) == ("FINISHED", "ssim", 1)


@pytest.mark.usefixtures("with_ssim")
def test_an_experiment_restored_from_the_run_cache_has_its_own_row(clone):
    clone.reset()
    printed = clone.run("dvc", "exp", "run", "-n", "with-ssim-again", "--temp", "-S", "loss.depth=ssim")
    assert "train" not in ran(printed)
    row = clone.rows().set_index("dvc").loc["with-ssim-again"]
    assert (row.status, row.points["val/mask_iou"], row.points["test/depth_ssim"]) == ("FINISHED", 2, 1)


@pytest.mark.usefixtures("with_ssim")
def test_what_is_shared_is_trained_by_nobody_again(clone):
    clone.reset()
    origin = clone.path.parent / "origin.git"
    clone.run("git", "clone", "--quiet", "--bare", ".", str(origin))
    # The commit of the experiment does not know the remote, and there are two runs of one evaluation.
    clone.run("dvc", "remote", "add", "--quiet", "--default", "store", str(clone.path.parent / "store"))
    clone.run("dvc", "exp", "run", "-n", "with-ssim-forced", "--temp", "-f", "-s", "evaluate", "-S", "loss.depth=ssim")
    assert re.fullmatch(r"share: store has \d+ runs .*; \d\d+ files are new there\n", clone.run("maskdepth", "share"))
    assert clone.run("maskdepth", "share").endswith("; 0 files are new there\n")

    clone.run("git", "clone", "--quiet", str(origin), "../second")
    second = Clone(clone.path.parent / "second")
    shutil.copy(clone.path / ".dvc" / "config", second.path / ".dvc")
    second.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{clone.path}/mlflow.db"
    printed = second.run("dvc", "exp", "run", "-n", "with-ssim", "--pull", "-S", "loss.depth=ssim")
    assert ran(printed) == ["report"]
    row = clone.rows().set_index("dvc").loc["with-ssim"]
    assert second.numbers("mlflow.json")["mlflow"]["run_id"] == row.run_uuid
    for name in ("test.json", "train.json"):  # in git, so that no remote is needed to look at them
        assert f'"{next(iter(second.numbers(name)))}"' in clone.run("git", "show", f"HEAD:metrics/{name}")


def test_a_changed_threshold_evaluates_alone_and_has_its_own_row(clone, strict):
    assert ran(strict) == ["evaluate", "report"]
    row = clone.rows().set_index("dvc").loc["strict"]
    assert (row.params["evaluate.threshold"], row.points["val/mask_iou"]) == ("0.99", 2)


@pytest.mark.nightly
def test_a_queue_of_four_gives_four_rows_in_one_store(clone):
    clone.reset()
    clone.run("dvc", "exp", "run", "--queue", "-n", "grid", "-S", "loss.mask=bce,dice", "-S", "loss.depth=mse,l1")
    clone.run("dvc", "queue", "start", "-j", "2")
    names = [f"grid-{number}" for number in range(1, 5)]
    for _ in range(200):
        # DVC fails if it looks while a worker is writing a message, perhaps with some lines already printed.
        code, status = clone.attempt("dvc", "queue", "status")
        if code == 0 and len(re.findall("grid-.*(?:Success|Failed)", status)) == 4:
            break
        time.sleep(3)  # asking takes DVC a second of what the queue is to work with
    assert len(re.findall("grid-.*Success", status)) == 4
    rows = clone.rows().set_index("dvc").loc[names]
    assert (rows.status == "FINISHED").all()
    assert {(row.params["loss.mask"], row.params["loss.depth"]) for row in rows.itertuples()} == {
        (mask, depth) for mask in ("bce", "dice") for depth in ("mse", "l1")
    }
    shown = clone.run("dvc", "exp", "show", "--csv")
    assert all(name in shown for name in names)
    assert rows.run_uuid.isin(re.findall(r"[0-9a-f]{32}", shown)).all()


@pytest.mark.usefixtures("strict")
def test_experiments_are_compared(clone):
    assert "mask_iou" in clone.run("dvc", "metrics", "diff", "HEAD", "strict")
    clone.run("dvc", "plots", "show", "-o", "page")
    assert "Mask IoU" in (clone.path / "page" / "index.html").read_text()


def test_an_unknown_loss_fails_before_any_work(clone):
    printed = clone.run("dvc", "exp", "run", "--temp", "-S", "loss.depth=sism", fails=True)
    assert re.search(r"error: .*loss\.depth.*sism.*did you mean.*ssim", printed)
    assert "Traceback" not in printed


def test_added_data_is_decoded_alone_and_moves_no_sample(clone):
    clone.reset()
    before = pd.read_csv(clone.path / "data" / "split.csv", index_col="sample_id")["split"]
    clone.run("dvc", "unprotect", "data/raw")
    raw = clone.path / "data" / "raw"
    write_toy_archive(raw, name="batch2_images.zip", backgrounds=range(1, 25), foregrounds=[5, 6], placements=[1])
    clone.run("dvc", "add", "-q", "data/raw")
    printed = clone.run("dvc", "repro", "split")
    assert re.search(r"^unzip: .*\(1 new\)", printed, re.MULTILINE)
    after = pd.read_csv(clone.path / "data" / "split.csv", index_col="sample_id")["split"]
    assert len(after) > len(before)
    assert (after[before.index] == before).all()
