"""Proves that a training meets numbers, files and disks that fail with one clear line, and loses nothing it had."""

import re
import shutil
import subprocess

import pytest
from support.trained import (
    STATES,
    assert_same_training,
    fail_stage,
    kill_training,
    run_stage,
    saved_states,
    small_disk,
    start_stage,
    wait_for_state,
    write_small_params,
)

from maskdepth.training.states import list_abandoned_states, load_state

pytestmark = pytest.mark.nightly

BAD_INPUT, NO_RESOURCE, CONFLICT = 2, 3, 4


def errors(stderr):
    """Give the lines that say what went wrong, and make sure that there is no traceback."""
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def test_a_loss_that_explodes_stops_with_its_name_and_keeps_the_last_good_state(repository):
    write_small_params(repository, optimizer="sgd", learning_rate=1e30, schedule="constant", clip_norm=0.0)
    code, stderr = fail_stage(repository, "train")
    assert code == BAD_INPUT
    (line,) = errors(stderr)
    assert re.search(
        r"loss_mask_bce.* not finite by step \d+ of epoch 0 \(loss \S+, .*; samples of this step: \d", line
    )
    assert line.endswith("lower train.learning_rate, or set train.clip_norm")
    kept = load_state(saved_states(repository)[-1].parent).state
    assert kept["step"] >= 1
    assert all(value.isfinite().all() for value in kept["network"].values())


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_state_gives_way_to_the_one_before_and_the_end_is_the_same(repository, uninterrupted):
    kill_training(repository, 6)
    newest = saved_states(repository)[-1]
    flip_a_bit(newest)
    process = start_stage(repository, "train")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert f"warning: {newest.name[:14]} is damaged (SHA-256 differs); going on from the one before" in stderr
    assert "train: going on at epoch" in stdout
    assert_same_training(repository, uninterrupted)


def test_only_damaged_states_are_a_conflict_until_the_folder_is_deleted(repository):
    write_small_params(repository, epochs=1)
    kill_training(repository, 2)
    for path in saved_states(repository):
        flip_a_bit(path)
    folder = path.parent
    code, stderr = fail_stage(repository, "train")
    assert code == CONFLICT
    relative = folder.relative_to(repository)
    (line,) = errors(stderr)
    assert re.search(rf"every saved training state in .*{relative} is damaged; delete that folder to start", line)
    shutil.rmtree(folder)
    assert "train: going on" not in run_stage(repository, "train")


def test_other_settings_never_go_on_from_a_state_and_leave_it_to_be_found(repository):
    write_small_params(repository, epochs=1)
    kill_training(repository, 3)
    (left,) = {path.parent for path in saved_states(repository)}
    assert list_abandoned_states(repository / STATES)[0].startswith(f"{left} is a training left at 20")

    write_small_params(repository, epochs=1, learning_rate=0.002)
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 4)
    (line,) = list_abandoned_states(repository / STATES)  # the training under way is not among them
    assert str(left) in line
    stdout, _ = process.communicate()
    assert "going on at epoch" not in stdout
    told = f"train: not going on from the training left in {left}: train.learning_rate 0.03 there, 0.002 here"
    assert told in stdout.splitlines()

    write_small_params(repository, epochs=1)
    assert "train: going on at epoch 1 step" in run_stage(repository, "train")
    assert list_abandoned_states(repository / STATES) == []


@pytest.fixture
def state_disk(repository):
    """Let the working state lie on a disk with room for two early states, but not for two late ones beside a new."""
    folder = repository / ".dvc" / "tmp" / "maskdepth"
    with small_disk(folder, 18 << 20):
        yield folder


def assert_stopped_for_room(code, stderr, repository):
    assert code == NO_RESOURCE
    (line,) = errors(stderr)
    assert re.search(r"cannot write .*state-\d{8}-\w+\.pt: .*; free some space and run again", line)
    assert load_state(saved_states(repository)[-1].parent).notices == []
    assert not list(repository.rglob(".partial-*"))


def test_a_full_disk_spares_the_last_good_state_and_training_goes_on_when_there_is_room(
    repository, state_disk, uninterrupted
):
    code, stderr = fail_stage(repository, "train")
    assert "No space left on device" in stderr
    assert_stopped_for_room(code, stderr, repository)
    subprocess.run(["mount", "-o", "remount,size=100m", state_disk], check=True)
    assert "train: going on at epoch" in run_stage(repository, "train")
    assert_same_training(repository, uninterrupted)


def test_a_limit_on_files_spares_the_last_good_state(repository):
    # The best weights join the state after the first epoch; [512 bytes] is the unit of `ulimit -f` in sh.
    code, stderr = fail_stage(repository, "train", before="ulimit -f 12000")
    assert "File too large" in stderr
    assert_stopped_for_room(code, stderr, repository)


def test_an_output_folder_that_cannot_be_made_is_told_before_the_first_batch(repository):
    # Nobody may make a folder there, not even root.
    code, stderr = fail_stage(repository, "train", ["--plots", "/proc/maskdepth"])
    assert code == BAD_INPUT
    (line,) = errors(stderr)
    assert "/proc/maskdepth" in line
    assert saved_states(repository) == []
