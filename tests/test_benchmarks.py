"""Every benchmark still runs, and ends with one JSON line that holds its ratios; how fast anything is, is no test."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from support.shipped import write_shipped

from maskdepth.making.drawing.sample import write_sample
from maskdepth.tuning.recipes import read_recipes

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))


def test_there_are_benchmarks():
    assert len(SCRIPTS) >= 9


def test_the_examples_of_the_timing_are_true():
    command = [sys.executable, "-m", "doctest", ROOT / "benchmarks" / "support" / "timing.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_smoke_run_ends_with_its_ratios_in_json(script):
    done = subprocess.run([sys.executable, script, "--quick"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["benchmark"] == script.stem.removeprefix("bench_")
    assert told["quick"]
    assert told["machine"]["cores"] >= 1
    assert told["ratios"]
    for ratio in told["ratios"]:
        assert 0 <= ratio["low"] <= ratio["median"] <= ratio["high"], ratio
        assert ratio["goal"] == "" or ratio["goal"].startswith((">= ", "<= ")), ratio
    assert all(ratio["name"] in done.stdout for ratio in told["ratios"])


HIDDEN = """
import sys
sys.modules |= dict.fromkeys(("mlflow", "dvc", "kornia"))
"""


@pytest.fixture
def bare(tmp_path):
    """The environment of a machine without git and packages that may be missing, for a process and all it starts."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDDEN)
    bare = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path / "site"), "OUT": str(tmp_path)}
    return os.environ | bare | {"MASKDEPTH_DEVICE": "cpu"}


def run_bare(environment, script, *words):
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_smoke_run_for_the_gpu_writes_every_section(bare, tmp_path):
    run_bare(bare, "on_gpu.py", "--quick")
    lines = [json.loads(line) for line in (tmp_path / "on_gpu.jsonl").read_text().splitlines()]
    sections = ["machine", "equality", "throughput", "epoch", "busy", "together", "side_by_side", "streaming"]
    assert [line["section"] for line in lines] == [*sections, "alternatives", "gpu_tests", "compiled"]
    assert not any("failed" in line for line in lines), lines


def test_a_bank_is_drawn_filled_gone_on_with_and_asked(bare, tmp_path):
    drawn, bank = tmp_path / "drawn", tmp_path / "bank"
    few = ["--size", 32, "--backgrounds", 40, "--foregrounds", 20, "--composites", 160]
    run_bare(bare, "bank.py", "prepare", drawn, *few)
    losses = ["--pairs", "bce+dice|l1+ssim,bce|ssim", "-S", "train.epochs=1", "--jobs", 2]
    told = run_bare(bare, "bank.py", "collect", drawn, bank, *losses, "--seeds", 2)
    assert "4 runs, 4 were missing; 2 at a time" in told
    told = run_bare(bare, "bank.py", "collect", drawn, bank, *losses, "--seeds", 6)
    assert "12 runs, 8 were missing" in told
    runs = pd.read_csv(bank / "runs.csv")
    assert (runs.groupby("combination")["seed"].apply(sorted) == [list(range(6))] * 2).all()
    assert runs["depth_ssim"].nunique() == 12
    assert "bce\\|ssim" in run_bare(bare, "bank.py", "tell", bank)
    told = run_bare(bare, "calibration.py", bank / "samples.parquet", "--seeds", 3, "--replays", 2)
    assert told.startswith("2 comparisons of 3 seeds")


def test_a_smoke_run_of_the_students_fills_every_row_of_their_table(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "compare_students.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["benchmark"], told["quick"]) == ("students", True)
    systems = {"learned nothing", "maskdepth", "the true maps", *read_recipes()}
    assert {(row["system"], row["split"]) for row in told["table"]} == set(product(systems, ("sample", "both")))
    assert (tmp_path / "students.csv").read_text().count("\n") == 1 + 2 * len(systems)
    assert all(name in (tmp_path / "students.md").read_text() for name in systems)
    assert (tmp_path / "students.png").read_bytes().startswith(b"\x89PNG")


def test_without_photographs_the_students_say_what_is_missing(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "compare_students.py", "--work", tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "MASKDEPTH_REAL_DATA"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "MASKDEPTH_REAL_DATA: expected the folder that holds layout1_sudhakarmlal; --quick does without photographs"
    ]


def test_a_smoke_run_on_scenes_measures_every_condition_once_and_draws_it(tmp_path):
    write_shipped(tmp_path)
    (tmp_path / "data").mkdir()
    write_sample(tmp_path / "data" / "raw", "sudhakarmlal", 0, 12, 6, 96, 64)
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    commands = [stages[name]["cmd"].split()[1:] for name in ("unzip", "index", "split")]
    script = str(ROOT / "benchmarks" / "scenes.py")
    small = ["--pools", "8,16,32"]
    commands += [[script, "collect", "data", "work", *small, "--composites", "32", "--seeds", "1", "--tested", "2"]] * 2
    commands.append([script, "report", "work", *small, "--out", "scenes.csv", "--picture", "scenes.png"])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = []
    for command in commands:
        typed = [sys.executable, *command]
        done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[-2] == ""  # all of it was there
    names = [name for name in told[-3].splitlines() if ": mask_iou " in name]
    # What has learned nothing, and what photographs train, in three folds each.
    assert len(names) == 3 * 3 + 5 + 13 * 3 + 6
    table = pd.read_csv(tmp_path / "scenes.csv")
    assert (table.groupby("condition")["place"].nunique() == 12).all()
    assert all(f"| {condition} |" in told[-1] for condition in table["condition"].unique())
    assert (tmp_path / "scenes.png").read_bytes().startswith(b"\x89PNG")
