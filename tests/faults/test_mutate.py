"""Proves on a sample that tests notice changed code, as `mutate.py` beside this does on every change."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("mutate", ROOT / "tests" / "faults" / "mutate.py")
mutate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutate)

EVERY = 40


def test_every_listed_survivor_has_a_reason_and_its_line_is_still_there():
    for (file, before, _), reason in mutate.read_reasons().items():
        lines = (mutate.SOURCE / file).read_text().splitlines()
        assert reason
        assert before in " ".join(line.strip() for line in lines)


def test_a_module_that_does_not_exist_is_named():
    done = subprocess.run([sys.executable, mutate.__file__, "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no module none here, only zips, split," in done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("module", mutate.MODULES)
def test_nine_of_ten_mutants_of_a_module_are_not_listed(module):
    pytest.importorskip("libcst", reason="mutmut is not installed; tests/faults/mutate.py says how")
    pytest.importorskip("mutmut")
    made = {mutant.key for file in mutate.MODULES[module][0] for mutant in mutate.make_mutants(mutate.SOURCE / file)}
    listed = {key for key in mutate.read_reasons() if key[0] in mutate.MODULES[module][0]}
    assert listed <= made
    assert len(listed) <= (1 - mutate.GOAL) * len(made)


@pytest.mark.nightly
@pytest.mark.parametrize("module", mutate.MODULES)
def test_a_mutant_is_noticed_or_listed(module):
    pytest.importorskip("libcst", reason="mutmut is not installed; tests/faults/mutate.py says how")
    pytest.importorskip("mutmut")
    command = [sys.executable, mutate.__file__, module, "--every", str(EVERY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["benchmark"], told["module"]) == ("mutate", module)
    assert told["mutants"] >= 3
