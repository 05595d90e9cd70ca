"""Proves that a state written beside the training is that of its step, that none is lost, and that errors are told."""

import threading

import pytest
import torch

from maskdepth.training import writer
from maskdepth.training.states import load_state
from maskdepth.training.writer import writing_states


def test_what_is_written_later_is_the_state_of_its_step(tmp_path, monkeypatch):
    may_write, save_state = threading.Event(), writer.save_state

    def save_when_allowed(*state):
        assert may_write.wait(60)
        save_state(*state)

    monkeypatch.setattr(writer, "save_state", save_when_allowed)
    weight, scores = torch.zeros(3), [0.5]
    with writing_states(tmp_path) as write:
        write({"optimizer": {"state": {0: {"exp_avg": weight}}}, "scores": scores, "betas": (0.9, 0.99)}, 1)
        weight += 1
        scores.append(0.7)
        may_write.set()
    kept = load_state(tmp_path).state
    assert torch.equal(kept["optimizer"]["state"][0]["exp_avg"], torch.zeros(3))
    assert (kept["scores"], kept["betas"]) == ([0.5], (0.9, 0.99))


def test_states_are_written_in_their_order_and_are_there_at_the_end(tmp_path):
    with writing_states(tmp_path) as write:
        for step in range(5):
            write({"step": step}, step)
    assert load_state(tmp_path).state["step"] == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_a_state_is_the_same_in_every_bit_as_one_that_was_waited_for(tmp_path):
    state = {"weights": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "step": 1}
    (tmp_path / "waited").mkdir()
    (tmp_path / "beside").mkdir()
    writer.save_state(tmp_path / "waited", state, 1)
    with writing_states(tmp_path / "beside") as write:
        write(state, 1)
    assert {path.name for path in (tmp_path / "beside").iterdir()} == {
        path.name for path in (tmp_path / "waited").iterdir()
    }


@pytest.mark.parametrize("states_after", [0, 1])
def test_a_state_that_cannot_be_written_is_told_at_the_next_one_or_at_the_end(tmp_path, states_after):
    def train():
        with writing_states(tmp_path / "missing" / "folder") as write:
            (tmp_path / "missing").write_text("no folder")
            for step in range(1 + states_after):
                write({"step": step}, step)

    with pytest.raises(OSError, match="state-00000000"):
        train()


def test_an_error_of_the_training_goes_first_and_what_was_begun_is_written(tmp_path):
    with pytest.raises(FloatingPointError, match="loss"), writing_states(tmp_path) as write:
        write({"step": 1}, 1)
        raise FloatingPointError("loss")
    assert load_state(tmp_path).state["step"] == 1
