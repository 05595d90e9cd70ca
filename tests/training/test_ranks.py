"""Proves that several processes train the very network that one does, stop together, and tell what parts them."""

from types import SimpleNamespace

import pytest
import torch
from support.ranked import alone, compare, die, give_state, open_ranks, train
from support.tiny import SPEC, Tiny, change, make_arrays, make_batches
from torch.utils._pytree import tree_flatten

from maskdepth.models.network import Network
from maskdepth.training.memory import within_memory
from maskdepth.training.parts import add_up_parts
from maskdepth.training.ranks import Ranks, check_shares

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def in_ranks():
    with open_ranks(4) as call:
        yield call


def list_values(state):
    """List all that a training depends on and tells, but for the time that it took."""
    untimed = state | {"epochs": [epoch | {"seconds": None} for epoch in state["epochs"]]}
    return tree_flatten(untimed)


def assert_same_state(state, expected):
    (ours, shape), (theirs, expected_shape) = list_values(state), list_values(expected)
    assert shape == expected_shape
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


# A last batch of 3, of 9, and of 17, which is 16 and 1: parts of 8 and of 4 cut them unevenly.
@pytest.mark.parametrize(
    ("micro_batch", "sizes", "precision", "samples", "name"),
    [
        (8, [2], "fp32", 51, "dsunet"),
        (8, [2], "bf16", 57, "tiny"),
        (4, [2, 4], "fp32", 57, "tiny"),
        (4, [2, 4], "bf16", 49, "tiny"),
        (4, [4], "fp32", 51, "tiny"),
    ],
)
def test_any_number_of_ranks_trains_the_same_network_bit_for_bit(
    in_ranks, micro_batch, sizes, precision, samples, name
):
    settings = {"micro_batch": micro_batch, "precision": precision}
    expected = alone(settings, samples, name=name)
    assert len(expected["epochs"]) == 2
    for size in sizes:
        for state in in_ranks(size, train, settings, samples, None, None, None, name):
            assert_same_state(state, expected)


def test_how_many_samples_are_normalised_together_is_a_setting_that_counts():
    states = [alone({"micro_batch": size, "epochs": 1}, 48) for size in ("auto", 16, 8)]
    assert_same_state(states[1], states[0])
    assert states[2]["epochs"][0]["train"] != states[0]["epochs"][0]["train"]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_state_of_some_ranks_goes_on_in_another_number_of_them(in_ranks, before, after):
    settings, samples = {"micro_batch": 8}, 57
    state = in_ranks(before, train, settings, samples, 6)[0]
    assert (state["epoch"], state["step"]) == (1, 2)
    expected = alone(settings, samples)
    for reached in in_ranks(after, train, settings, samples, None, state):
        assert_same_state(reached, expected)


@pytest.mark.parametrize("rank", [0, 1])
def test_all_ranks_stop_after_the_same_step_whichever_is_asked(in_ranks, rank):
    states = in_ranks(2, train, {"micro_batch": 8}, 57, None, None, (rank, 2))
    # Asked after the second step, it says so with the third.
    assert [(state["epoch"], state["step"]) for state in states] == [(0, 3), (0, 3)]
    assert_same_state(states[1], states[0])


def test_all_ranks_get_the_state_of_the_first(in_ranks):
    for state in in_ranks(2, give_state):
        assert (state["epoch"], state["weights"]["a"].tolist()) == (7, [0, 1, 2])


def test_a_rank_that_would_train_something_else_is_told_before_the_first_step(in_ranks):
    ours, theirs = {"data": "1f", "code": "a", "training samples": "42"}, {"data": "2e", "code": "a"}
    assert in_ranks(2, compare, ours, ours) == [None, None]
    for error in in_ranks(2, compare, ours, theirs | {"training samples": "41"}):
        assert isinstance(error, ValueError)
        assert str(error) == (
            "rank 1 would train something else than rank 0: other data; training samples 41 there, 42 here; give all "
            "the same"
        )


@pytest.mark.parametrize("how", ["ends", "hangs"])
def test_a_rank_that_waits_in_vain_says_so(in_ranks, tmp_path, how):
    told = in_ranks(2, die, tmp_path, how, patience=2)[0]
    assert told.startswith("rank 0 of 2 has lost another rank, which died, hangs, or is out of reach (")
    assert told.endswith("run again to go on from the last saved state")


def test_each_part_finds_the_statistics_of_before_and_their_mean_stays():
    batch = next(make_batches(make_arrays(), 8).in_order())
    parts = [batch.part(0, 2), batch.part(2, 8)]
    left = []
    for chosen in (parts[:1], parts[1:], parts):
        torch.manual_seed(0)
        network = Network(Tiny(), SPEC)

        def work(part, share, network=network):
            loss = network(*part.inputs()).depth.mean() * share
            loss.backward()
            return {"loss": loss}

        terms = add_up_parts(network, Ranks(), chosen, work)
        norm = network.model.body[1]
        assert norm.num_batches_tracked == 1
        left.append((terms["loss"], norm.running_mean, norm.running_var, network.model.heads.weight.grad))
    for one, other, mean in zip(*left, strict=True):
        torch.testing.assert_close(mean, one / 4 + other * 3 / 4)


def test_ranks_have_to_divide_the_parts_of_a_batch():
    check_shares(1, change(batch_size=16))
    check_shares(2, change(batch_size=16, micro_batch=4))
    message = "train.micro_batch: auto cuts a batch of 16 into 1, which 2 processes cannot share evenly; set it to 8"
    with pytest.raises(ValueError, match=message):
        check_shares(2, change(batch_size=16))
    with pytest.raises(ValueError, match="4 cuts a batch of 16 into 4, which 3 processes cannot share evenly"):
        check_shares(3, change(batch_size=16, micro_batch=4))


def test_a_rank_without_enough_memory_does_not_cut_its_batches_in_a_way_of_its_own():
    training = SimpleNamespace(micro_batch=8, ranks=Ranks(1, 2))

    def work():
        raise MemoryError("out of memory")

    with pytest.raises(MemoryError, match=r"rank 1: out of memory; lower train\.micro_batch, or start fewer processes"):
        within_memory(training, work)
    assert training.micro_batch == 8
