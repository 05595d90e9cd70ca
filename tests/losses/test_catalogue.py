"""Proves that sums of losses mean what they say, and that every loss that can be named is fit to train with."""

import copy
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.losses.catalogue import (
    DEPTH_LOSSES,
    LOSSES,
    MASK_LOSSES,
    build_criterion,
    describe_losses,
)
from maskdepth.losses.names import DEPTH_PRESETS, FORMULAS, MASK_PRESETS, PRESETS, normal_form, parse_loss
from maskdepth.metrics.catalogue import image_metrics
from maskdepth.models.prediction import Prediction
from maskdepth.params import LossParams

EVERY_LOSS = [(head, name) for head, losses in LOSSES.items() for name in losses]
# Not least at the truth: a smoother, and losses that other projects trained with.
NOT_LEAST_AT_TRUTH = {("depth", "tv"), ("depth", "dice"), ("mask", "bce_zscored"), ("depth", "bce_zscored")}
SHAPE = (2, 1, 16, 16)


def random_case(head, seed=0):
    """Estimate and truth of one head: raw scores and a mask, or two depth maps."""
    generator = torch.Generator().manual_seed(seed)
    target = 0.05 + 0.9 * torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    if head == "mask":
        return torch.randn(SHAPE, generator=generator, dtype=torch.float64), (target > 0.6).double()
    pred = 0.2 + 0.6 * torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    # The worst error of each image, which BerHu takes for a constant, is in a corner and stays there.
    pred[..., 0, 0], target[..., 0, 0] = 1.0, 0.0
    return pred, target


def extreme_cases(head):
    """Estimates and truths at which a careless formula divides 0 by 0."""
    zero, one = torch.zeros(SHAPE), torch.ones(SHAPE)
    ramp = torch.linspace(0, 1, 16).expand(SHAPE)
    truths = [zero, one, ramp > 0.5, ramp]
    estimates = [zero, one, 0.5 * one, ramp]
    if head == "mask":
        truths = truths[:3]
        estimates = [zero, one, 40 * ramp - 20, zero - 100, one + 100]
    equal = [] if head == "mask" else [(truth.float(), truth.float()) for truth in truths]
    return equal + [(estimate.clone(), truth.float()) for truth in truths for estimate in estimates]


def loss_params(**changes):
    return LossParams(**{"mask": "bce", "depth": "l1", "mask_weight": 1.0, "depth_weight": 1.0} | changes)


def random_batch():
    (logits, mask), (depth_pred, depth) = random_case("mask"), random_case("depth")
    return Prediction(logits, depth_pred), mask, depth


@pytest.mark.parametrize(("head", "name"), EVERY_LOSS)
def test_gradient_is_that_of_the_value(head, name):
    pred, target = random_case(head)
    corner = torch.zeros(SHAPE, dtype=torch.bool)
    corner[..., 0, 0] = head == "depth"
    pinned = pred.clone()

    def value(estimate):
        return LOSSES[head][name](torch.where(corner, pinned, estimate), target)

    assert torch.autograd.gradcheck(value, pred.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(("head", "name"), EVERY_LOSS)
def test_value_and_gradient_are_finite_everywhere(head, name):
    for pred, target in extreme_cases(head):
        loss = LOSSES[head][name](pred.requires_grad_(), target)
        loss.backward()
        assert loss.shape == ()
        assert loss.isfinite() and pred.grad.isfinite().all()


@pytest.mark.parametrize(("head", "name"), EVERY_LOSS)
def test_an_estimate_that_is_no_number_makes_a_loss_that_is_none(head, name):
    assert LOSSES[head][name](torch.full(SHAPE, torch.nan), torch.ones(SHAPE)).isnan()


@pytest.mark.parametrize(("head", "name"), [case for case in EVERY_LOSS if case not in NOT_LEAST_AT_TRUTH])
def test_truth_costs_least(head, name):
    loss, (pred, target) = LOSSES[head][name], random_case(head)
    truth = 200 * target - 100 if head == "mask" else target
    assert loss(truth, target) < loss(pred, target)
    if name != "bce":
        assert loss(truth, target).item() == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize(("head", "name"), [case for case in EVERY_LOSS if case[1] != "rmse"])
def test_loss_of_a_batch_is_the_mean_of_its_images(head, name):
    loss, (pred, target) = LOSSES[head][name], random_case(head)
    single = torch.stack([loss(pred[i : i + 1], target[i : i + 1]) for i in range(len(pred))])
    torch.testing.assert_close(loss(pred, target), single.mean())


@pytest.mark.parametrize(("head", "name"), EVERY_LOSS)
def test_precision_is_kept_and_inputs_are_not_changed(head, name):
    loss, (pred, target) = LOSSES[head][name], random_case(head)
    before = copy.deepcopy((pred, target))
    in_float64 = loss(pred, target)
    torch.testing.assert_close((pred, target), before, atol=0, rtol=0)
    in_float32 = loss(pred.float(), target.float())
    assert (in_float64.dtype, in_float32.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(in_float32.double(), in_float64, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("head", "name"), EVERY_LOSS)
def test_a_few_steps_downhill_lower_the_loss(head, name):
    loss, (pred, target) = LOSSES[head][name], random_case(head)
    scores = (pred if head == "mask" else pred.clamp(max=0.9).logit()).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.05)
    values = []
    for _ in range(10):
        value = loss(scores if head == "mask" else scores.sigmoid(), target)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert values[-1] < values[0]


def test_every_loss_runs_under_deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        for head, name in EVERY_LOSS:
            pred, target = random_case(head)
            LOSSES[head][name](pred.requires_grad_(), target).backward()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("expression", "weights"),
    [
        ("l1", {"l1": 1}),
        ("l1+ssim", {"l1": 1, "ssim": 1}),
        (" ssim + 0.1 * l1 ", {"l1": 0.1, "ssim": 1}),
        (".5*l1+2.*mse", {"l1": 0.5, "mse": 2}),
        ("1e+2*l1+1E-1*mse", {"l1": 100, "mse": 0.1}),
        ("l1+l1+0.5*l1", {"l1": 2.5}),
        ("2*densedepth", {"grad": 2, "l1": 0.2, "ssim": 2}),
        ("midas+ssi", {"grad_ms": 0.5, "ssi": 2}),
        ({"ssim": 1, "l1": 0.1}, {"l1": 0.1, "ssim": 1}),
        ({"densedepth": 1}, {"grad": 1, "l1": 0.1, "ssim": 1}),
    ],
)
def test_sums_are_read(expression, weights):
    found = parse_loss(expression, "depth")
    assert found == pytest.approx(weights)
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    "expression", ["", " ", "+", "l1+", "+l1", "l1++ssim", "l1-ssim", "-1*l1", "l1*2", "2 l1", "2*", "l1,ssim", "l1(3)"]
)
def test_what_is_no_sum_is_refused(expression):
    with pytest.raises(ValueError, match=r"loss\.depth: cannot read .* such as ssim\+grad\+0\.1\*l1"):
        parse_loss(expression, "depth")


@pytest.mark.parametrize(("typed", "meant"), [("SSIM", "ssim"), ("smoothl1", "smooth_l1"), ("bhu", "berhu")])
def test_unknown_name_brings_the_nearest_and_all_known(typed, meant):
    with pytest.raises(ValueError, match=rf"loss\.depth: unknown loss '{typed}'; did you mean {meant}\? known: .*tv"):
        parse_loss(f"l1+{typed}", "depth")


@pytest.mark.parametrize("text", ["9", "9*bce", "1.", "1e", "a", ".", " ", "bce+", "(", "1.0", "1+", "bce*"], ids=repr)
@pytest.mark.parametrize("before", ["", "bce+", "2*"])
def test_a_text_of_any_length_is_refused_at_once_and_in_a_line_that_can_be_read(before, text):
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"^loss\.mask: ") as refused:
        parse_loss(before + text[0] * 30_000 + text[1:] * 10_000, "mask")
    assert time.perf_counter() - began < 5  # two minutes, where digits could be shared out among parts
    assert len(str(refused.value)) < 700


def test_a_loss_of_the_other_head_is_unknown():
    with pytest.raises(ValueError, match=r"loss\.mask: unknown loss 'silog'"):
        parse_loss("silog", "mask")


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive(weight):
    with pytest.raises(ValueError, match=r"loss\.mask: weight .* of bce; a weight is a number above 0"):
        parse_loss({"bce": weight}, "mask")


def test_an_empty_mapping_is_refused():
    with pytest.raises(ValueError, match=r"loss\.mask: found no term"):
        parse_loss({}, "mask")


@pytest.mark.parametrize("expression", ["ssim+l1", "l1 + 1.0*ssim", {"ssim": 1, "l1": 1.0}, "0.5*l1+ssim+0.5*l1"])
def test_equal_sums_have_one_normal_form(expression):
    assert normal_form(expression, "depth") == "l1+ssim"


@pytest.mark.parametrize("expression", ["densedepth", "1e-07*l1+1e+06*ssim", "0.333*tv+berhu"])
def test_normal_form_is_read_back_as_the_same_sum(expression):
    again = normal_form(expression, "depth")
    assert parse_loss(again, "depth") == parse_loss(expression, "depth")
    assert normal_form(again, "depth") == again


TERMS = st.tuples(st.floats(min_value=0, exclude_min=True), st.sampled_from([*DEPTH_LOSSES, *DEPTH_PRESETS]))
SUMS = st.lists(TERMS, min_size=1, max_size=5).map(lambda terms: "+".join(f"{each}*{name}" for each, name in terms))


@given(SUMS | st.text("0123456789.eE+-* l1sim", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_sum_with_one_normal_form_or_is_refused_by_its_key(expression):
    try:
        weights = parse_loss(expression, "depth")
    except ValueError as error:
        assert str(error).startswith("loss.depth: ")
        return
    again = normal_form(expression, "depth")
    assert parse_loss(again, "depth") == weights
    assert normal_form(again, "depth") == again


@pytest.mark.parametrize("expression", ["1e308*l1+1e308*l1", "5e-324*densedepth", "1e999*l1"])
def test_a_weight_that_leaves_the_range_of_numbers_is_refused(expression):
    with pytest.raises(ValueError, match=r"loss\.depth: weight (inf|0) of l1; a weight is a number above 0"):
        parse_loss(expression, "depth")


def test_what_rounding_adds_to_a_sum_is_not_part_of_its_name():
    assert normal_form("0.1*l1+0.2*l1", "depth") == "0.3*l1"
    assert normal_form("0.123456789*l1", "depth") == "0.123456789*l1"


@pytest.mark.parametrize("head", LOSSES)
def test_presets_are_sums_of_losses_and_hide_none(head):
    for name, preset in PRESETS[head].items():
        assert name not in LOSSES[head]
        assert parse_loss(preset.expression, head).keys() <= LOSSES[head].keys()


def test_densedepth_of_a_missed_object():
    # Recorded from independent NumPy code.
    depth = (torch.linspace(0, 1, 64, dtype=torch.float64) * 0.8 + 0.1)[:, None].expand(1, 1, 64, 64)
    pred = depth.clone()
    pred[..., 20:44, 16:40] = 0.2
    expected = {"densedepth": 0.132981, "midas": 0.070602}
    for name, value in expected.items():
        terms = build_criterion(loss_params(depth=name, mask_weight=0.0))(Prediction(pred, pred), depth, depth)
        assert terms["loss"].item() == pytest.approx(value, abs=1e-6)


def test_criterion_names_plain_terms_and_weighs_the_total():
    params = loss_params(mask="0.5*bce+2*dice", depth="ssim+0.1*l1", mask_weight=3.0, depth_weight=0.25)
    prediction, mask, depth = random_batch()
    terms = build_criterion(params)(prediction, mask, depth)
    assert set(terms) == {"loss_mask_bce", "loss_mask_dice", "loss_depth_l1", "loss_depth_ssim", "loss"}
    assert terms["loss_mask_dice"] == MASK_LOSSES["dice"](prediction.mask_logits, mask)
    assert terms["loss_depth_l1"] == DEPTH_LOSSES["l1"](prediction.depth, depth)
    by_hand = 3 * (0.5 * terms["loss_mask_bce"] + 2 * terms["loss_mask_dice"])
    by_hand += 0.25 * (terms["loss_depth_ssim"] + 0.1 * terms["loss_depth_l1"])
    torch.testing.assert_close(terms["loss"], by_hand)


def test_no_term_has_the_name_of_a_metric():
    prediction, mask, depth = random_batch()
    metrics = set(image_metrics(prediction, mask, depth, 0.5))
    names = {f"loss_{head}_{name}" for head, losses in LOSSES.items() for name in losses}
    assert not names & metrics
    assert all(name.startswith("loss") for name in build_criterion(loss_params())(prediction, mask, depth))


def test_total_reaches_both_heads():
    (logits, depth_pred), mask, depth = random_batch()
    prediction = Prediction(logits.requires_grad_(), depth_pred.requires_grad_())
    build_criterion(loss_params())(prediction, mask, depth)["loss"].backward()
    assert logits.grad.abs().sum() > 0 and depth_pred.grad.abs().sum() > 0


def test_a_head_weighed_zero_is_measured_but_not_trained():
    (logits, depth_pred), mask, depth = random_batch()
    prediction = Prediction(logits.requires_grad_(), depth_pred.requires_grad_())
    terms = build_criterion(loss_params(depth_weight=0.0))(prediction, mask, depth)
    terms["loss"].backward()
    assert terms["loss_depth_l1"] > 0
    assert depth_pred.grad.abs().sum() == 0


def test_both_heads_weighed_zero_are_refused():
    with pytest.raises(ValueError, match=r"loss\.mask_weight and loss\.depth_weight are both 0"):
        build_criterion(loss_params(mask_weight=0.0, depth_weight=0.0))


def test_autocast_changes_no_loss():
    criterion = build_criterion(loss_params(mask="+".join(MASK_LOSSES), depth="+".join(DEPTH_LOSSES)))
    prediction, mask, depth = random_batch()
    prediction = Prediction(prediction.mask_logits.float(), prediction.depth.float())
    expected = criterion(prediction, mask, depth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = criterion(prediction, mask, depth)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_half_precision_outputs_are_measured_in_float32():
    criterion = build_criterion(loss_params(mask="bce+dice", depth="ssim+grad"))
    prediction, mask, depth = random_batch()
    half = Prediction(prediction.mask_logits.bfloat16(), prediction.depth.bfloat16())
    full = Prediction(half.mask_logits.float(), half.depth.float())
    found, expected = criterion(half, mask.to(torch.uint8), depth.float()), criterion(full, mask, depth.float())
    assert all(term.dtype == torch.float32 for term in found.values())
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_targets_of_another_shape_are_refused():
    prediction, mask, depth = random_batch()
    with pytest.raises(ValueError, match=r"mask: the prediction has shape \(2, 1, 16, 16\), the target \(2, 16, 16\)"):
        build_criterion(loss_params())(prediction, mask[:, 0], depth)


def test_every_loss_and_preset_is_described_by_a_formula():
    rows = describe_losses()
    assert len(rows) == len(EVERY_LOSS) + len(MASK_PRESETS) + len(DEPTH_PRESETS)
    for row in rows:
        head, name, formula, summary = row.values()
        assert summary.endswith(".")
        assert formula == (PRESETS[head][name].expression if name in PRESETS[head] else FORMULAS[head][name]) != ""


def test_every_name_has_its_function_and_every_function_its_name():
    assert {head: set(losses) for head, losses in LOSSES.items()} == {head: set(one) for head, one in FORMULAS.items()}


def test_a_new_loss_is_one_function_and_a_line_in_each_of_two_tables(monkeypatch):
    def cubed_loss(pred, target):
        """Mean cubed error."""
        return (pred - target).abs().pow(3).mean()

    monkeypatch.setitem(FORMULAS["depth"], "cubed", "mean |p - t|^3")
    monkeypatch.setitem(DEPTH_LOSSES, "cubed", cubed_loss)
    prediction, mask, depth = random_batch()
    terms = build_criterion(loss_params(depth="l1+2*cubed"))(prediction, mask, depth)
    assert terms["loss_depth_cubed"] == cubed_loss(prediction.depth, depth)
    (row,) = (row for row in describe_losses() if row["name"] == "cubed")
    assert row == {"head": "depth", "name": "cubed", "formula": "mean |p - t|^3", "summary": "Mean cubed error."}
