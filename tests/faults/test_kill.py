"""Proves that a stage killed at any instant and run again ends as if nobody had disturbed it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_stage_survives_kills_at_random_instants():
    script = [sys.executable, "tests/faults/kill_stages.py", "--kills", "20", "--seed", "1"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["kills"] == 8 + 6 * 2
    assert counts["identical"] == counts["runs"] >= 7
    assert counts["half_written"] == counts["left_over"] == 0
    assert all(stage["kills"] >= 2 for stage in counts["stages"].values())
