"""A request is answered with maps of the composite's size, or refused in one line that says what to mend."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from maskdepth.data.pictures.decoding import MAX_PIXELS
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.serving.answers import MOST_BYTES, MOST_PAIRS, PairPredictor, encode_png
from maskdepth.serving.exporting import Exported

SIDE = 32


class Difference(nn.Module):
    """Takes for the object what is brighter than before, and for the depth how bright the composite is."""

    def forward(self, background, composite):
        brighter = (composite - background).mean(1, keepdim=True)
        return (20 * (brighter - 0.2)).sigmoid(), composite.mean(1, keepdim=True)


@pytest.fixture(scope="module")
def predictor():
    program = torch.export.export(Difference(), tuple(torch.rand(2, 1, 3, SIDE, SIDE)))
    return PairPredictor(Exported(program, {"image_size": str(SIDE)}))


def scene(width=96, height=64):
    """Draw a wall with enough on it to be known again."""
    noise = np.random.default_rng(0).integers(40, 120, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)))


def visited(width=96, height=64):
    """Put a bright object into the scene: a quarter of its width, half of its height."""
    pixels = scene(width, height).copy()
    pixels[height // 4 : 3 * height // 4, width // 2 : 3 * width // 4] = 250
    return pixels


def decode(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def refuse(predictor, pairs, threshold=0.5):
    with pytest.raises(RefusedError) as refused:
        predictor.answer(pairs, threshold, registers=True)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_answer_has_the_size_of_the_composite_and_shows_the_object(predictor):
    composite = visited()
    (answer,) = predictor.answer([(encode_png(scene()), encode_png(composite))], 0.5, registers=False)
    mask, depth, cutout = (decode(answer[name]) for name in ("mask", "depth", "cutout"))
    assert (answer["width"], answer["height"], answer["registration"]) == (96, 64, "not asked for")
    assert (mask.shape, depth.shape, cutout.shape) == ((64, 96), (64, 96), (64, 96, 4))
    assert set(np.unique(mask)) == {0, 255}
    assert answer["object_share"] == pytest.approx((mask > 0).mean())
    assert answer["object_share"] == pytest.approx(1 / 8, abs=0.03)
    assert mask[32, 60] == 255
    assert mask[2, 2] == 0
    alpha = cutout[..., 3]
    np.testing.assert_array_equal(cutout[alpha > 0, :3], composite[alpha > 0])
    np.testing.assert_array_equal(alpha > 127, mask > 0)
    assert depth.max() > 60_000  # 16 bit: the object is nearly white
    assert depth[32, 60] > depth[2, 2]


def test_a_camera_that_moved_is_put_back_unless_nobody_asks_for_it(predictor):
    background, composite = encode_png(np.roll(scene(192, 128), 5, axis=1)), encode_png(visited(192, 128))
    registered, plain = (
        predictor.answer([(background, composite)], 0.5, registers=registers)[0] for registers in (True, False)
    )
    assert registered["registration"].startswith("moved -5.0, ")
    assert plain["registration"] == "not asked for"
    assert abs(registered["object_share"] - 1 / 8) < 0.03


def test_the_threshold_decides_what_is_object(predictor):
    pair = (encode_png(scene()), encode_png(visited()))
    shares = [predictor.answer([pair], threshold, registers=False)[0]["object_share"] for threshold in (0.02, 0.98)]
    assert shares[0] > shares[1] > 0


def test_another_size_of_one_shape_is_fine(predictor):
    pair = (encode_png(scene(48, 32)), encode_png(visited()))
    assert predictor.answer([pair], 0.5, registers=True)[0]["width"] == 96


def test_jpeg_is_read_as_well(predictor):
    file = io.BytesIO()
    Image.fromarray(scene()).save(file, "JPEG")
    text = base64.b64encode(file.getvalue()).decode()
    assert predictor.answer([(text, text)], 0.5, registers=True)[0]["height"] == 64


GOOD = encode_png(scene())


@pytest.mark.parametrize(
    ("composite", "message"),
    [
        (base64.b64encode(b"hello").decode(), "it is not a JPEG or PNG picture; convert it to PNG"),
        ("", "it is not a JPEG or PNG picture; convert it to PNG"),
        ("%%%", "it is no base64 (Only base64 data is allowed); encode the file's bytes again"),
        ("\u00e9", "it is no base64 (string argument should contain only ASCII characters); encode the file's bytes"),
        (None, "it is NoneType, no text; send the file's bytes in base64"),
        (3.5, "it is float, no text"),
        ("A" * (2 * MOST_BYTES), "it has over 32.0 MB; shrink it"),
        (GOOD[: len(GOOD) // 8 * 4], "it cannot be decoded"),
        (encode_png(np.zeros((1, 1, 3), np.uint8)), "it has 1 x 1 pixels; expected 16 or more a side"),
        (encode_png(np.zeros((7000, 7000), np.uint8)), "it has 7000 x 7000 pixels, over 40,000,000 in all; shrink it"),
    ],
    ids=["text", "nothing", "signs", "letters", "none", "number", "long", "torn", "one pixel", "bomb"],
)
def test_a_picture_that_cannot_be_used_is_refused_by_its_name(predictor, composite, message):
    assert refuse(predictor, [(GOOD, composite)]).startswith(f"composite: {message}")


def test_of_many_pairs_the_one_that_cannot_be_used_is_named(predictor):
    assert refuse(predictor, [(GOOD, GOOD), ("AAAA", GOOD)]).startswith("pair 2, background: it is not a JPEG")


def test_two_shapes_are_refused(predictor):
    told = refuse(predictor, [(GOOD, encode_png(scene(64, 96)))])
    assert told == (
        "the background has 96 x 64 pixels, the composite 64 x 96; crop one of them to the width / height of the other"
    )


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (MOST_PAIRS + 1, "17")])
def test_none_and_too_many_pairs_are_refused(predictor, count, shown):
    assert refuse(predictor, [(GOOD, GOOD)] * count) == f"there are {shown} pairs; send 1 to 16 in a request"


def test_more_pixels_than_one_request_may_have_are_refused_before_any_is_predicted(predictor):
    side = int((MAX_PIXELS / 3.5) ** 0.5)  # three of them are fine, a fourth is too much
    large = encode_png(np.zeros((side, side), np.uint8))
    told = refuse(predictor, [(large, large), (GOOD, GOOD), (large, large)])
    assert told == "pair 3, composite: with it there are over 40,000,000 pixels; send fewer or smaller ones"


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(predictor, threshold):
    assert refuse(predictor, [(GOOD, GOOD)], threshold).endswith("give a number between 0 and 1")
