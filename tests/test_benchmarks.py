"""Every benchmark still runs, and ends with one JSON line that holds its ratios; how fast anything is, is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))


def test_there_are_benchmarks():
    assert len(SCRIPTS) >= 9


def test_the_examples_of_the_timing_are_true():
    command = [sys.executable, "-m", "doctest", ROOT / "benchmarks" / "timing.py"]
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
