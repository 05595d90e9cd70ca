"""From runs in a real store to an answer: what is said, what is left out and why, and that bad input ends in a line.

Tests named after a wish of a tracker's users are what that wish asks for.
"""

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from faults.doors import free_port, tracking_server
from support.compared import send_run, send_runs
from support.settings import copy_params
from support.simulated import World
from typer.testing import CliRunner

from maskdepth.answer import answer, tabulate, tell_rest, tell_verdict, write_answer
from maskdepth.cli.program import app
from maskdepth.comparing.results import Verdict
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.history import read_curves, read_pictures
from maskdepth.tracking.sqlite import relocate
from maskdepth.tracking.store import connect

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SHIPPED = "bce+dice|l1+ssim"
GAINS = {SHIPPED: 0.0, "dice|ssim": 0.03, "mse|mse": -0.05}


def make_root(folder: Path) -> Path:
    (folder / ".dvc").mkdir(parents=True)
    copy_params(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A repository in which three combinations have run with three seeds, and some runs that cannot be compared."""
    root = make_root(tmp_path_factory.mktemp("recorded"))
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, root)
        send_runs(root, GAINS)
        send_run(root, "iou|l1", 0, None)
        send_runs(root, {"bce|ssim": 0.0}, seeds=1, epochs=2)
        send_runs(root, {"bce|ssim": 0.0}, seeds=1, split="9" * 32)
    return root


def enter(patch, root: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        patch.delenv(name)
    patch.setenv("DVC_ROOT", str(root))
    patch.chdir(root)


@pytest.fixture
def root(recorded, monkeypatch):
    enter(monkeypatch, recorded)
    return recorded


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A repository without runs."""
    enter(monkeypatch, make_root(tmp_path / "fresh"))
    return tmp_path / "fresh"


@pytest.fixture
def copy(recorded, tmp_path, monkeypatch):
    """A store of its own with the recorded runs, to do damage to."""
    root = tmp_path / "copy"
    shutil.copytree(recorded, root)
    shutil.rmtree(root / ".dvc" / "tmp" / "maskdepth" / "compare", ignore_errors=True)
    enter(monkeypatch, root)
    relocate(recorded, root)
    return root


def verdicts(found):
    return {each.combination: each.verdict for each in found.comparison.answers}


def compare_in_terminal(*options):
    result = CliRunner().invoke(app, ["compare", *options], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


# What is said


def test_the_better_one_is_named_first_and_the_control_is_that_of_params_yaml(root):
    found = answer(EXPERIMENT, None)
    assert found.comparison.control == SHIPPED
    assert verdicts(found) == {"dice|ssim": Verdict.BETTER, "mse|mse": Verdict.WORSE}
    headline, made_of = tell_verdict(found)
    assert headline.startswith(f"1 of 2 combinations is better than {SHIPPED}: dice|ssim.")
    assert made_of == ("9 runs of 3 combinations; image size 64, epochs 4, batch size 16, threshold of the mask 0.5")


def test_masks_of_a_camera_that_moved_stand_beside(root):
    found = answer(EXPERIMENT, None)
    table = found.robustness
    assert set(table.index) == {SHIPPED, "dice|ssim", "mse|mse"}
    assert table["disturbed_mask_iou"].to_numpy() == pytest.approx(table["registered_mask_iou"].to_numpy() / 2)
    own = f"{table.loc[SHIPPED, 'registered_mask_iou']:.3f}"
    told = next(line for line in tell_rest(found) if line.startswith("With disturbed backgrounds"))
    assert f"registered {own}; the others" in told


def test_what_was_left_out_is_told_with_its_reason(root):
    told = "\n".join(tell_rest(answer(EXPERIMENT, None)))
    assert re.search(r"Left out: iou\|l1-s0 \(\w{8}\): it has no table of its samples", told)
    assert "epochs 2, not 4" in told
    assert "other split" in told


def test_the_baselines_stand_below_the_combinations(root):
    titles, rows = tabulate(answer(EXPERIMENT, None))
    assert titles[:3] == ["combination", "verdict", "seeds"]
    assert [row[0] for row in rows] == [SHIPPED, "dice|ssim", "mse|mse", "difference", "mean map"]
    assert rows[3] == ["difference", "baseline", "-", "0.600", "-", "-", "-"]


def test_the_terminal_shows_the_headline_first_and_a_table_of_80_columns(root):
    lines = compare_in_terminal().splitlines()
    assert lines[0].startswith("1 of 2 combinations is better")
    table = [line for line in lines if line.startswith("  ")]
    assert len(table) >= 3
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize("spelled", ["dice|ssim", " 1.0*dice | ssim"])
def test_two_spellings_of_a_control_are_one(root, spelled):
    assert answer(EXPERIMENT, spelled).comparison.control == "dice|ssim"


def test_a_control_that_never_ran_is_refused_and_the_nearest_named(root):
    with pytest.raises(ValueError, match=r"no run has the combination 'dice\|ssm'; did you mean dice\|ssim\?"):
        answer(EXPERIMENT, "dice|ssm")


def test_without_a_params_yaml_the_control_is_one_with_most_seeds(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert answer(EXPERIMENT, None).comparison.control in GAINS


# Wishes of the users of trackers


def test_mlflow_3762_runs_of_one_combination_are_one_row_over_their_seeds(root):
    means = answer(EXPERIMENT, None).comparison.means
    assert set(means["combination"]) == set(GAINS)
    assert set(means["seeds"]) == {3}


def test_mlflow_4277_every_mean_has_an_error_bar(root):
    found = answer(EXPERIMENT, None)
    means = found.comparison.means.dropna()
    assert len(means) == len(found.comparison.endpoints) * len(GAINS)
    assert (means["low"] < means["mean"]).all()
    assert (means["mean"] < means["high"]).all()


def test_mlflow_7790_a_run_counts_by_what_it_was_tested_on_and_not_by_its_last_value(root):
    found = answer(EXPERIMENT, None)
    row = found.comparison.means.set_index(["combination", "metric"]).loc[(SHIPPED, "mask_iou")]
    runs = [found.history.metrics[run.run_id] for run in found.family.combinations[SHIPPED].values()]
    assert row["mean"] == pytest.approx(sum(run["test/mask_iou"] for run in runs) / 3)


def test_mlflow_2696_the_same_pictures_of_all_combinations_stand_side_by_side(root, tmp_path):
    found = answer(EXPERIMENT, None)
    pictures = read_pictures(found.history, found.family)
    titles = {tuple(picture.title for picture in row) for row in pictures.values()}
    assert (set(pictures), titles) == (set(GAINS), {("sample 1_2", "sample 3_4")})
    assert list(write_answer(found, tmp_path / "answer.html", None, None))
    page = (tmp_path / "answer.html").read_text()
    assert page.count('src="data:image/png;base64,') == 6
    assert f'alt="sample 1_2 by {SHIPPED}"' in page


def test_clearml_499_curves_are_averaged_over_seeds(root, tmp_path):
    found = answer(EXPERIMENT, None)
    curves = read_curves(found.history, found.family)
    assert list(curves.columns) == ["combination", "seed", "epoch", "metric", "value"]
    assert len(curves) == len(GAINS) * 3 * 3 * 2  # seeds, epochs, metrics
    list(write_answer(found, tmp_path / "answer.html", None, None))
    assert "<h2>While they learned</h2>" in (tmp_path / "answer.html").read_text()


def test_wandb_5634_the_spread_can_be_had_as_a_table(root, tmp_path):
    compare_in_terminal("--csv", str(tmp_path / "all.csv"), "--markdown", str(tmp_path / "answer.md"))
    table = pd.read_csv(tmp_path / "all.csv")
    assert {"mean", "mean_low", "mean_high", "difference", "low", "high", "holm", "visible"} <= set(table)
    assert len(table) == 3 * 6
    assert "| dice\\|ssim | **better** |" in (tmp_path / "answer.md").read_text()


@pytest.mark.slow
def test_mlflow_21841_many_runs_do_not_keep_a_few_from_being_compared(copy):
    # Their tables are kept after the first time, and of all others nothing but the list is read.
    multiply(copy / "mlflow.db", 10_000)
    found = answer(EXPERIMENT, SHIPPED)
    assert len(found.history.runs) > 10_000
    assert verdicts(found)["dice|ssim"] is Verdict.BETTER


def multiply(database: Path, count: int) -> None:
    """Write so many unfinished runs, each with all tags and settings of the first."""
    with closing(sqlite3.connect(database)) as store, store:
        (first,) = store.execute("SELECT run_uuid FROM runs WHERE experiment_id = 1 LIMIT 1").fetchone()
        for table in ("runs", "tags", "params", "latest_metrics"):
            columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
            rows = store.execute(f"SELECT {','.join(columns)} FROM {table} WHERE run_uuid = ?", (first,)).fetchall()
            key = columns.index("run_uuid")
            copies = [(*row[:key], f"{number:032x}", *row[key + 1 :]) for number in range(count) for row in rows]
            store.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})", copies)
        store.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid LIKE '000000000000000000000000000%'")


def test_every_setting_is_found_by_a_search_though_few_are_shown(root):
    connection = connect(locate_store())
    wanted = """tags.params LIKE '%"train.epochs": "2"%'"""
    (found,) = connection.client.search_runs([connection.experiments[EXPERIMENT]], wanted)
    assert (found.info.run_name, found.data.params["train.epochs"]) == ("bce|ssim-s0", "2")
    by_batch = """tags.params LIKE '%"train.batch_size": "16"%'"""
    assert len(connection.client.search_runs([connection.experiments[EXPERIMENT]], by_batch)) == 12
    assert "train.batch_size" not in found.data.params


# Bad input


def test_without_a_store_the_commands_that_make_runs_are_named_and_none_is_made(fresh):
    with pytest.raises(ValueError, match=r"mlflow\.db: no store here, so no runs; `dvc repro`"):
        answer(EXPERIMENT, None)
    assert not (fresh / "mlflow.db").exists()


def test_a_store_without_runs_says_what_makes_them(fresh):
    connect(locate_store())
    with pytest.raises(ValueError, match="the store has no runs; `dvc repro`"):
        answer(EXPERIMENT, None)


def test_an_unknown_experiment_is_refused_and_those_that_are_there_are_named(root):
    with pytest.raises(ValueError, match=r"no experiment 'sweep'; .*mlflow\.db has Default, maskdepth, maskdepth-data"):
        answer("sweep", None)


def test_a_store_that_cannot_be_reached_is_named(fresh, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:\d+: \[Errno 111\] Connection refused"):
        answer(EXPERIMENT, None)


def test_one_run_alone_is_no_comparison(fresh):
    send_runs(fresh, {"bce|l1": 0.0}, seeds=1)
    assert tell_verdict(answer(EXPERIMENT, None))[0] == "There is only bce|l1: nothing to compare it with."


def test_one_seed_is_too_few_for_a_claim(fresh):
    send_runs(fresh, {SHIPPED: 0.0, "bce|l1": 0.5}, seeds=1)
    found = answer(EXPERIMENT, None)
    assert verdicts(found) == {"bce|l1": Verdict.TOO_FEW_SEEDS}
    assert "they share 1 seed, and a claim takes 3 seeds" in tell_rest(found)[0]


def test_three_places_are_too_few_for_a_claim(fresh):
    send_runs(fresh, {SHIPPED: 0.0, "bce|l1": 0.5}, places=3)
    assert verdicts(answer(EXPERIMENT, None)) == {"bce|l1": Verdict.TOO_FEW_GROUPS}


def test_runs_without_tables_alone_say_what_they_lack(fresh):
    send_run(fresh, "bce|l1", 0, None)
    with pytest.raises(ValueError, match=r"none of 1 runs can be compared; the first: bce\|l1-s0 .*no table"):
        answer(EXPERIMENT, None)


def tables_of(root: Path, name: str) -> list[Path]:
    """List the tables of the runs of one name, or of names that begin so."""
    with closing(sqlite3.connect(root / "mlflow.db")) as store, store:
        runs = store.execute("SELECT artifact_uri FROM runs WHERE substr(name, 1, ?) = ?", (len(name), name)).fetchall()
    return [Path(uri) / "tables" / "samples.parquet" for (uri,) in runs]


def test_a_table_that_was_lost_or_changed_leaves_its_run_out(copy):
    (lost,), (changed,) = tables_of(copy, "mse|mse-s0"), tables_of(copy, "mse|mse-s1")
    lost.unlink()
    changed.write_bytes(b"PAR1")
    told = "\n".join(tell_rest(answer(EXPERIMENT, None)))
    assert "its tables/samples.parquet cannot be read" in told
    assert "its tables/samples.parquet cannot be read: it is not the one that was recorded; run it again" in told


def test_a_control_whose_tables_were_lost_is_refused(copy):
    for table in tables_of(copy, f"{SHIPPED}-s"):
        table.unlink()
    with pytest.raises(ValueError, match=r"no table of bce\+dice\|l1\+ssim can be read; the first: .*cannot be read"):
        answer(EXPERIMENT, None)


def test_a_table_of_other_columns_leaves_its_run_out(fresh):
    samples = World(seeds=3, places=10).measure({SHIPPED: 0.0, "bce|l1": 0.0})
    for (combination, seed), part in samples.groupby(["combination", "seed"]):
        send_run(fresh, combination, int(seed), part.drop(columns="foreground") if combination == "bce|l1" else part)
    found = answer(EXPERIMENT, None)
    assert "its tables/samples.parquet has no column foreground; run it again" in "\n".join(tell_rest(found))


def test_a_sweep_run_again_counts_once(fresh):
    for _ in range(2):
        send_runs(fresh, {SHIPPED: 0.0, "bce|l1": 0.0}, seeds=1)
    told = "\n".join(tell_rest(answer(EXPERIMENT, None)))
    assert "Left out: 2 runs such as" in told
    assert "there is a newer run with its settings and seed" in told


@pytest.mark.nightly
def test_a_server_gives_the_same_answer_as_a_file(fresh, tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    with tracking_server(tmp_path / "server") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        send_runs(fresh, GAINS)
        found = answer(EXPERIMENT, None)
        assert verdicts(found) == {"dice|ssim": Verdict.BETTER, "mse|mse": Verdict.WORSE}
        assert len(read_pictures(found.history, found.family)) == 3
        assert list(found.baselines) == ["difference", "mean map"]
