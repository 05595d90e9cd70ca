"""A repository in which everything but the training has run, and the stages as DVC starts them: real processes."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from support.settings import SHIPPED_PARAMS, write_places
from support.toy import write_toy_archive
from support.waiting import wait_until

from maskdepth.models.saved import load_network
from maskdepth.tracking.journal import read_journal

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
STATES = Path(".dvc/tmp/maskdepth/train")


def write_params(repository, **sections):
    """Write the shipped params.yaml with other values in some sections."""
    params = YAML(typ="safe").load(SHIPPED_PARAMS.read_text())
    for section, values in sections.items():
        params[section] |= values
    with (repository / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(params, file)


def write_small_params(repository, evaluate=(), **train):
    """Write settings with which a training takes seconds and saves its state after each step."""
    small = {"epochs": 4, "batch_size": 8, "checkpoint_seconds": 0.01, "precision": "fp32"}
    write_params(
        repository, data={"image_size": 32}, model={"name": "dsunet"}, train=small | train, evaluate=dict(evaluate)
    )


def make_repository(folder):
    """Draw a toy data set in an empty folder and run all stages but the training."""
    (folder / ".dvc").mkdir(parents=True)
    write_toy_archive(folder / "data" / "raw", backgrounds=range(1, 13))
    write_small_params(folder)
    write_places(folder)
    for stage in ("unzip", "index", "stats", "split"):
        run_stage(folder, stage)
    return folder


def start_stage(repository, stage, options=(), before=":", code=ROOT, **environment):
    """Start a stage as DVC does; nothing of the tests' own surroundings reaches it.

    Args:
        repository: Where.
        stage: Its name.
        options: These win over the usual ones.
        before: What the shell does first, such as setting a limit.
        code: The folder of dvc.yaml, `src` and `stages`.
        environment: Further variables.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    needed = {"PYTHONPATH": f"{code / 'src'}:{code}", "MASKDEPTH_THREADS": "1", "MASKDEPTH_DEVICE": "cpu"}
    program = [sys.executable, *PIPELINE[stage]["cmd"].split()[1:], *options]
    return subprocess.Popen(
        ["sh", "-c", f'{before}; exec "$@"', "sh", *program],
        cwd=repository,
        env=kept | needed | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_stage(repository, stage, **how):
    process = start_stage(repository, stage, **how)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return stdout


def fail_stage(repository, stage, options=(), before=":"):
    """Run a stage that ends in an error; give its exit code and what it says on stderr."""
    process = start_stage(repository, stage, options, before)
    _, stderr = process.communicate()
    return process.returncode, stderr


@contextmanager
def read_only(folder):
    """Let nobody write into a folder; skips the test where that needs rights that it does not have."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    # Modes do not bind root, so it gets a mount.
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def small_disk(folder, num_bytes):
    """Mount a disk of so many bytes; skips the test where that needs rights that it does not have."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        # The process that mirrors a training to the store may look into the folder a little longer.
        wait_until(lambda: subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0)


def saved_states(repository):
    """List the saved states, the earliest first."""
    return sorted((repository / STATES).glob("*/state-*.pt"), key=lambda path: path.name)


def wait_for_state(repository, process, count):
    """Wait until so many states were saved; a state's number counts the updates and epochs before it."""
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        if any(int(path.name.split("-")[1]) >= count for path in saved_states(repository)):
            return
        time.sleep(0.02)
    raise AssertionError(f"no state {count} was saved: {process.communicate()}")


def kill_training(repository, count):
    """Train until so many states were saved, then kill the process."""
    process = start_stage(repository, "train")
    wait_for_state(repository, process, count)
    process.kill()
    process.communicate()


def weights(repository):
    return load_network(repository / "models" / "model.safetensors").state_dict()


def read_curves(repository):
    curves = pd.read_csv(repository / "plots" / "epochs.csv")
    return curves.drop(columns=[name for name in curves if "seconds" in name])


def read_points(journal):
    points = read_journal(journal).points
    # How long something took, and how busy the machine was, differ each time.
    of_the_machine = ("seconds", "system/")
    return {
        (point.name, point.step, point.value)
        for point in points
        if not any(part in point.name for part in of_the_machine)
    }


def assert_same_training(repository, expected):
    ours, theirs = weights(repository), weights(expected)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    pd.testing.assert_frame_equal(read_curves(repository), read_curves(expected), check_exact=True)
    journal = Path("journals") / "train.jsonl"
    assert read_points(repository / journal) == read_points(expected / journal)
