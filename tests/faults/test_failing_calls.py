"""Proves that a stage of which one system call fails says so in one line, harms nothing, and does all the next time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.failing_calls import why_not

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_stage_survives_calls_that_fail():
    if reason := why_not():
        pytest.skip(reason)
    script = [sys.executable, "tests/faults/failing_calls.py", "--calls", "12", "--seed", "1"]
    done = subprocess.run(
        [*script, "--stages", "unzip", "index"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["tried"] + counts["not_met"] == 12
    assert counts["tried"] == counts["told"] + counts["succeeded"] + counts["killed"] >= 8
    assert counts["traceback"] == counts["half_written"] == counts["not_identical"] == 0
