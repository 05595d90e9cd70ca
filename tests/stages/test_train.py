"""Proves that the train stage writes what it promises, resumes exactly after a kill, and refuses bad settings."""

import json
import re
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from support.copied import copy_code
from support.trained import (
    assert_same_training,
    kill_training,
    make_repository,
    run_stage,
    start_stage,
    wait_for_state,
    write_params,
)

from maskdepth.tracking.journal import FINISHED, KILLED, read_journal
from maskdepth.training.fit import Epoch
from maskdepth.training.outputs import flatten_epoch


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Give a repository in which all stages but the training have run."""
    return make_repository(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def repository(prepared, tmp_path):
    return Path(shutil.copytree(prepared, tmp_path / "repository"))


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    repository = shutil.copytree(prepared, tmp_path_factory.mktemp("uninterrupted") / "repository")
    return repository, run_stage(repository, "train")


@pytest.mark.slow
def test_training_writes_network_card_metrics_curves_and_journal(uninterrupted):
    repository, output = uninterrupted
    numbers = json.loads((repository / "measured" / "train.json").read_text())
    assert {"val_mask_iou", "val_depth_ssim", "val_loss"} <= set(numbers)
    assert {"best_epoch", "epochs", "parameters", "seconds"} <= set(numbers)
    curves = pd.read_csv(repository / "plots" / "epochs.csv")
    assert curves["epoch"].tolist() == [1, 2, 3, 4]
    assert curves["val_mask_iou"][numbers["best_epoch"] - 1] == numbers["val_mask_iou"]
    card = json.loads((repository / "models" / "model.json").read_text())
    assert (card["architecture"], card["image_size"], card["validation"]) == (
        "dsunet",
        32,
        {name.removeprefix("val_"): value for name, value in numbers.items()},
    )
    journal = read_journal(repository / "journals" / "train.jsonl")
    assert journal.status == FINISHED
    assert journal.params["train.epochs"] == "4"
    assert {point.step for point in journal.points if point.name == "val/mask_iou"} == {1, 2, 3, 4}
    assert re.fullmatch(r"train: dsunet, \d+ samples, 4 epochs in .*", output.splitlines()[-1])
    assert not list((repository / ".dvc" / "tmp" / "maskdepth" / "train").iterdir())


@pytest.mark.slow
def test_the_same_settings_give_the_same_weights(repository, uninterrupted):
    run_stage(repository, "train")
    assert_same_training(repository, uninterrupted[0])


@pytest.mark.slow
def test_arrays_in_a_store_give_the_same_weights(repository, uninterrupted, monkeypatch):
    arrays = repository / "data" / "arrays"
    shutil.copytree(arrays, repository / "store")
    for path in arrays.rglob("*.npy"):
        path.unlink()
    monkeypatch.setenv("MASKDEPTH_ARRAYS", (repository / "store").as_uri())
    run_stage(repository, "train")
    assert_same_training(repository, uninterrupted[0])


@pytest.mark.slow
def test_killed_twice_and_resumed_equals_uninterrupted_bit_for_bit(repository, uninterrupted):
    for count in (3, 17):
        process = start_stage(repository, "train")
        wait_for_state(repository, process, count)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert "train: going on at epoch" in run_stage(repository, "train")
    assert_same_training(repository, uninterrupted[0])


@pytest.mark.slow
def test_no_state_of_other_code_is_gone_on_from(repository, tmp_path):
    kill_training(repository, 3)
    code = copy_code(tmp_path / "code")
    arrays = code / "src" / "maskdepth" / "data" / "arrays" / "arrays.py"
    arrays.write_text(arrays.read_text() + "# another line\n")
    output = run_stage(repository, "train", code=code)
    assert "train: not going on from the training left in" in output
    assert "other code" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.nightly)]
)
def test_a_signal_stops_with_a_saved_state_and_the_next_call_goes_on(repository, uninterrupted, number, code):
    process = start_stage(repository, "train")
    wait_for_state(repository, process, 5)
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == code, stderr
    stopped = re.search(r"train: stopped at (epoch \d+ step \d+); run the same command to go on", stdout)
    (journal,) = (repository / ".dvc" / "tmp" / "maskdepth" / "train").glob("*/train.jsonl")
    assert read_journal(journal).status == KILLED
    assert f"going on at {stopped[1]}" in run_stage(repository, "train")
    assert_same_training(repository, uninterrupted[0])


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"name": "dsnet"}, r"model\.name: unknown network 'dsnet'; did you mean dsunet\?"),
        ("loss", {"depth": "sim"}, r"loss\.depth"),
        ("train", {"batch_size": 1}, r"train\.batch_size: found 1"),
    ],
)
def test_wrong_settings_are_refused_before_any_data_is_read(tmp_path, monkeypatch, section, values, message):
    from stages.train import main

    write_params(tmp_path, **{section: values})
    monkeypatch.chdir(tmp_path)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=message):
        main(*[nowhere] * 9)


def test_names_of_an_epoch_say_what_they_are_of():
    epoch = Epoch(0, {"loss": 2.0}, {"loss": 3.0}, 0.1, {"load": 4.0}, is_best=True)
    assert flatten_epoch(epoch, "/") == {
        "train/loss": 2.0,
        "val/loss": 3.0,
        "train/seconds_load": 4.0,
        "train/learning_rate": 0.1,
    }
