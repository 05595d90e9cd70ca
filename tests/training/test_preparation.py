"""What a training starts from fits together, or is refused before it begins."""

import pandas as pd
import pytest
import torch
from support.tiny import CPU, change

from maskdepth.training import preparation
from maskdepth.training.preparation import choose_val_batch, fit_precision, wants_background_depth

WITHOUT, WITH = "background+composite", "background+composite+background_depth"


def test_the_depth_of_the_background_is_wanted_by_those_who_see_it():
    samples = pd.DataFrame({"background_depth_row": [-1, 3]})
    assert wants_background_depth(WITH, samples)
    assert not wants_background_depth(WITHOUT, samples)
    assert not wants_background_depth(WITHOUT, samples.head(1))


def test_a_network_that_would_see_nothing_of_it_is_refused_with_the_cure():
    samples = pd.DataFrame({"background_depth_row": [-1, -1]})
    with pytest.raises(ValueError, match=r"model\.inputs: .*_depth needs .* no training sample has it; add it"):
        wants_background_depth(WITH, samples)


@pytest.mark.parametrize(("image_size", "expected"), [(64, 512), (128, 128), (1024, 16)])
def test_a_cuda_device_validates_as_many_samples_at_a_time_as_keep_it_busy(image_size, expected):
    settings = change(batch_size=16)
    assert choose_val_batch(settings, image_size, torch.device("cuda", 1)) == expected
    assert choose_val_batch(settings, image_size, CPU) == 16


@pytest.mark.parametrize("has_bf16", [False, True])
def test_a_device_without_bfloat16_trains_in_float32_and_says_so(monkeypatch, capsys, has_bf16):
    monkeypatch.setattr(preparation, "has_bf16", lambda device: has_bf16)
    assert fit_precision(change(precision="bf16"), torch.device("cuda")).precision == ("bf16" if has_bf16 else "fp32")
    said = "" if has_bf16 else "warning: train.precision: this cuda has no bfloat16 of its own; training in fp32\n"
    assert capsys.readouterr().err == said
