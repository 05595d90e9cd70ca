"""Proves that backgrounds are disturbed, that registration undoes it, and that the table says what became of masks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from maskdepth.data.batches.batches import Batch
from maskdepth.evaluation.disturbances import AS_IT_IS, DISTURBANCES
from maskdepth.evaluation.robustness import disturb, measure_robustness, register_backgrounds
from maskdepth.models.prediction import Prediction

SIDE = 64
UNDONE = [
    "moved 1 %",
    "moved 4 %",
    "turned 1 degree",
    "2 % nearer",
    "light x0.9",
    "light x1.2",
    "colour cast",
]


@pytest.fixture(scope="module")
def batch():
    """Three rooms with a grey square before each."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(3, 3, SIDE, SIDE))
    rooms = sum(ndimage.gaussian_filter(noise, (0, 0, blur, blur)) * blur * 40 for blur in (1.5, 4))
    background = torch.from_numpy(np.clip(rooms + 110, 20, 200).astype(np.uint8))
    mask = torch.zeros(3, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, 20:36, 24:40] = 1
    composite = torch.where(mask.bool(), torch.tensor(240, dtype=torch.uint8), background)
    return Batch(background, composite, mask, torch.full_like(mask, 128), ["a", "b", "c"])


def find_by_difference(background, composite):
    difference = (background - composite).abs().amax(1, keepdim=True)
    return Prediction((difference - 0.1) * 100, torch.full_like(difference, 0.5))


def difference(first, second):
    return (first.float() - second.float()).abs().mean().item()


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_changes_the_background_alone_and_always_alike(batch, name):
    (one,), (other,) = (list(disturb([batch], DISTURBANCES[name])) for _ in range(2))
    assert torch.equal(one.background, other.background)
    assert (difference(one.background, batch.background) > 0.5) == (name != AS_IT_IS)
    assert one._replace(background=batch.background) == batch


def test_a_pair_as_it_is_stays_as_it_is_when_registered(batch):
    (seen,) = register_backgrounds(disturb([batch], DISTURBANCES[AS_IT_IS]))
    assert torch.equal(seen.background, batch.background)


@pytest.mark.parametrize("name", UNDONE)
def test_registration_takes_motion_and_light_back(batch, name):
    (disturbed,) = disturb([batch], DISTURBANCES[name])
    (registered,) = register_backgrounds([disturbed])
    off, on = (difference(each.background, batch.background) for each in (disturbed, registered))
    assert on < off / 2


def test_every_sample_and_every_disturbance_has_its_row(batch):
    batches = SimpleNamespace(in_order=lambda: iter([batch.part(0, 2), batch.part(2, 3)]))
    found = measure_robustness(find_by_difference, batches, 0.5)
    table = found.table.set_index("background")
    assert list(table.index) == list(DISTURBANCES)
    clean = table.loc[AS_IT_IS]
    assert clean["mask_iou_disturbed"] == clean["mask_iou_registered"] == 1
    assert clean["difference_mask_iou_disturbed"] == 1
    assert table.loc["moved 4 %", "mask_iou_disturbed"] < 0.6
    assert table.loc["moved 4 %", "mask_iou_registered"] > 0.9
    for how, samples in found.samples.items():
        assert len(samples) == 3
        disturbed = table.drop(index=AS_IT_IS)[f"mask_iou_{how}"]
        assert samples["mask_iou"].mean() == pytest.approx(disturbed.mean())
