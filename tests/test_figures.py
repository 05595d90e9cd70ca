"""Figures: errors are coloured by kind, the same figure is the same file, and pictures have the asked rows."""

import numpy as np
import pandas as pd
from PIL import Image

from maskdepth.figures import (
    FALSE_ALARM,
    HIT,
    MISS,
    DrawnSample,
    draw_curves,
    draw_learning_rates,
    draw_samples,
    mask_errors,
    plot_curves,
)


def sample(size: int = 16) -> DrawnSample:
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None].repeat(size, 1)
    picture = (ramp[..., None].repeat(3, 2) * 255).astype(np.uint8)
    return DrawnSample("1_2_0_3", picture, picture[::-1], ramp > 0.5, ramp, ramp, 1 - ramp)


def test_mask_errors_are_coloured_by_kind():
    truth = np.array([[True, True, False, False]])
    pred = np.array([[True, False, True, False]])
    assert mask_errors(truth, pred)[0].tolist() == [list(HIT), list(MISS), list(FALSE_ALARM), [0, 0, 0]]


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        draw_samples([sample(), sample()], 0.5, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_figure_is_never_written_through_a_link(tmp_path):
    (tmp_path / "cached.png").write_text("kept")
    (tmp_path / "a.png").hardlink_to(tmp_path / "cached.png")  # as DVC links an output to its cache
    draw_samples([sample()], 0.5, tmp_path / "a.png")
    assert (tmp_path / "cached.png").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "cached.png"]


def test_more_samples_make_a_taller_picture(tmp_path):
    heights = []
    for count in (1, 3):
        draw_samples([sample()] * count, 0.5, tmp_path / "new" / f"{count}.png")
        with Image.open(tmp_path / "new" / f"{count}.png") as picture:
            heights.append(picture.height)
    assert heights[1] > 2 * heights[0]


def test_curves_need_no_train_metric(tmp_path):
    epochs = pd.DataFrame(
        {
            "epoch": [0, 1],
            "train_loss": [2.0, 1.0],
            "val_loss": [2.0, 1.5],
            "val_mask_iou": [0.1, 0.5],
            "val_depth_ssim": [0.2, 0.4],
        }
    )
    draw_curves(epochs, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500


def test_every_term_of_the_loss_has_a_panel_of_its_own():
    names = [f"{split}_{name}" for split in ("train", "val") for name in ("loss", "loss_mask_bce", "loss_depth_l1")]
    figure = plot_curves(pd.DataFrame({"epoch": [1, 2]} | {name: [1.0, 0.5] for name in names}))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["mask IoU", "depth SSIM", "loss", "mask bce loss", "depth l1 loss"]


def test_a_learning_rate_curve_is_drawn(tmp_path):
    rates = np.geomspace(1e-6, 1, 20)
    trials = pd.DataFrame({"learning_rate": rates, "loss": 2 - rates, "smoothed": 2 - rates})
    sizes = []
    for name in ("a.png", "b.png"):
        draw_learning_rates(trials, 1e-3, tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            sizes.append(picture.size)
    assert sizes == [(660, 440)] * 2
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
