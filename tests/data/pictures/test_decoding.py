"""Proves that a picture decodes to the right pixels whatever way it was stored, or is refused with a reason."""

import io
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile, ImageOps
from support.plotted import draw_levels, plot_small_page, plot_wide_page
from support.settings import SHIPPED_PARAMS

from maskdepth.data.pictures.decoding import (
    MAX_PIXELS,
    MAX_SCANS,
    Frame,
    Picture,
    decode_colour,
    decode_mask,
    decode_picture,
    decode_whole,
)
from maskdepth.data.pictures.refusal import RefusedError

SIZE = 8
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOUR = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def decode(data: bytes, kind: str = "composite", side: int = SIZE) -> npt.NDArray[np.uint8]:
    return decode_picture(data, kind, side, "dark").pixels


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels."""
    chunks = [b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0), b"IDAT"]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_at_its_own_size_a_picture_stays_as_it_is() -> None:
    assert np.array_equal(decode(encode(Image.fromarray(COLOUR))), COLOUR)
    assert np.array_equal(decode(encode(Image.fromarray(RAMP)), "depth"), RAMP)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_every_colour_mode_gives_the_same_colours(mode: str) -> None:
    squares = np.kron(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]], np.uint8), np.ones((4, 4, 1)))
    image = Image.fromarray(squares.astype(np.uint8)).convert(mode)
    data = encode(image, "JPEG", quality=100, subsampling=0) if mode == "CMYK" else encode(image)
    assert np.abs(decode(data).astype(int) - squares).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "1", "RGB", "RGBA", "P"])
def test_every_grey_mode_gives_the_same_mask(mode: str) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 1:4] = 255
    assert np.array_equal(decode(encode(Image.fromarray(mask).convert(mode)), "mask"), mask // 255)
    assert np.array_equal(decode(encode(Image.fromarray(mask).convert(mode)))[..., 1], mask)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    data = encode(Image.fromarray(deep))
    expected = (deep / 257).round().astype(np.uint8)
    assert np.array_equal(decode(data, "depth"), expected)
    assert len(np.unique(decode(data, "depth"))) == 64
    assert np.abs(decode(data).astype(int) - expected[..., None]).max() <= 1


def test_bright_depth_is_turned_round_so_that_near_is_zero() -> None:
    data = encode(Image.fromarray(RAMP))
    assert np.array_equal(decode_picture(data, "depth", SIZE, "bright").pixels, 255 - RAMP)


def test_a_mask_is_thresholded_after_resizing() -> None:
    """Two of each four pixels set average to 127.5: the threshold is between that and one of four."""
    block = np.kron(np.eye(8, dtype=np.uint8), np.ones((2, 2), np.uint8)) * 255
    assert decode(encode(Image.fromarray(block)), "mask").diagonal().all()
    assert set(np.unique(decode(encode(Image.fromarray(block)), "mask"))) == {0, 1}
    grey = np.full((8, 8), 127, np.uint8)
    grey[0, 0] = 128
    assert decode(encode(Image.fromarray(grey)), "mask").sum() == 1
    assert decode(encode(Image.fromarray(grey + 1)), "mask").all()


DISC = ((np.indices((8, 8)) - 3.5) ** 2).sum(0) < 9
ZEROS = np.zeros((8, 8), np.uint8)
WHITE = np.uint8(255)


def in_alpha(colour: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.dstack([colour, colour, colour, DISC * WHITE]))


def with_palette() -> Image.Image:
    image = Image.fromarray(DISC.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


STORED_MASKS = {
    "white on black": Image.fromarray(DISC * WHITE),
    "ones on zeros": Image.fromarray(DISC.astype(np.uint8)),
    "ones on zeros as colour": Image.fromarray(DISC.astype(np.uint8)).convert("RGB"),
    "ones on zeros in 16 bits": Image.fromarray(DISC.astype(np.uint16)),
    "8 bits in 16": Image.fromarray(DISC * np.uint16(255)),
    "16 bits": Image.fromarray(DISC * np.uint16(65535)),
    "indices of a palette": with_palette(),
    "one bit": Image.fromarray(DISC),
    "alpha of black": in_alpha(ZEROS),
    "alpha of white": in_alpha(ZEROS + 255),
    "alpha of grey": in_alpha(ZEROS + 100),
    "alpha and colour": in_alpha(DISC * WHITE),
    "alpha beside grey": Image.merge("LA", [Image.fromarray(ZEROS), Image.fromarray(DISC * WHITE)]),
}


@pytest.mark.parametrize("case", STORED_MASKS)
def test_a_mask_is_read_however_it_was_stored(case: str) -> None:
    assert np.array_equal(decode(encode(STORED_MASKS[case]), "mask"), DISC)


def test_a_mask_of_ones_alone_is_full_and_one_of_zeros_empty() -> None:
    assert decode(encode(Image.fromarray(ZEROS + 1)), "mask").all()
    assert not decode(encode(Image.fromarray(ZEROS)), "mask").any()
    assert not decode(encode(Image.fromarray(ZEROS), "JPEG"), "mask").any()


TOP = np.indices((8, 8))[0] == 0
AMBIGUOUS_MASKS = {
    "class numbers": (Image.fromarray(DISC * np.uint8(7)), "its brightest level is 7 of 255, an object is above 127"),
    "grey in a JPEG": (Image.fromarray(np.full((8, 8), 60, np.uint8)), "its brightest level is 60 of 255"),
    "ones and a white rim": (Image.fromarray(DISC | TOP * WHITE), "its levels are 0, 1 and 255, so nothing says"),
    "12 bits in 16": (Image.fromarray(DISC * np.uint16(4095)), "its brightest level is 16 of 255"),
    "levels of 8 bits in 16": (Image.fromarray(RAMP.astype(np.uint16)), "its 16 bits hold nothing above 255 of 65535"),
    "two masks": (in_alpha(TOP * WHITE), "its colours and its alpha channel are two masks"),
}


@pytest.mark.parametrize("case", AMBIGUOUS_MASKS)
def test_a_mask_that_could_be_read_in_two_ways_is_refused_with_the_cure(case: str) -> None:
    image, message = AMBIGUOUS_MASKS[case]
    with pytest.raises(RefusedError, match=message):
        decode(encode(image, "JPEG" if "JPEG" in case else "PNG"), "mask")


def encode_deep(levels: npt.NDArray[np.uint16], colours: int) -> bytes:
    """Write a PNG of several channels of 16 bits, as Pillow cannot."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">2I5B", levels.shape[1], levels.shape[0], 16, colours, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(rows), b"IEND"]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("kind", ["background", "composite", "mask", "depth"])
def test_colours_of_8_bits_in_16_are_refused_and_not_black(kind: str) -> None:
    levels = np.repeat(DISC[..., None] * np.uint16(255), 3, 2)
    with pytest.raises(RefusedError, match="its channels of 16 bits hold nothing above 255 of 65535; save it with 8 b"):
        decode(encode_deep(levels, 2), kind)
    assert decode(encode_deep(levels * np.uint16(257), 2), kind).max() in (1, 255)


@pytest.mark.parametrize("kind", ["background", "composite", "depth"])
def test_levels_of_8_bits_in_16_are_refused_and_not_black(kind: str) -> None:
    with pytest.raises(RefusedError, match="its 16 bits hold nothing above 255 of 65535; save it with 8 bits"):
        decode(encode(Image.fromarray(RAMP.astype(np.uint16))), kind)


def test_depth_that_was_cut_to_zeros_and_ones_is_refused() -> None:
    with pytest.raises(RefusedError, match="its levels are 0 and 1 of 255; save it with 8 bits, its levels spread"):
        decode(encode(Image.fromarray(DISC.astype(np.uint8))), "depth")


def test_resizing_does_not_alias() -> None:
    """A checkerboard shrunk to a quarter is grey; picking pixels would leave black and white."""
    board = np.indices((32, 32)).sum(0) % 2 * np.uint8(255)
    shrunk = decode(encode(Image.fromarray(board.astype(np.uint8))), "depth")
    assert np.abs(shrunk.astype(int) - 128).max() < 20


def test_a_large_jpeg_decodes_at_reduced_size_to_nearly_the_same() -> None:
    smooth = np.kron(COLOUR, np.ones((32, 32, 1), np.uint8))
    data = encode(Image.fromarray(smooth), "JPEG", quality=95)
    picture = decode_picture(data, "composite", SIZE, "dark")
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert (picture.width, picture.height) == (256, 256)
    assert np.abs(picture.pixels.astype(int) - whole).mean() < 3


def draw_disc(side: int, centre: float) -> npt.NDArray[np.uint8]:
    """Draw a white disc on black in one corner; its edge is as soft as a pixel is wide."""
    y, x = np.indices((side, side)) + 0.5
    distance = np.hypot(y - centre * side, x - centre * side)
    return np.asarray((np.clip(side / 8 - distance + 0.5, 0, 1) * 255).round(), np.uint8)


@pytest.mark.parametrize("side", [64, 97, 160, 193, 224, 225, 251, 383, 387, 500, 777, 1029])
@pytest.mark.parametrize("kind", ["composite", "mask", "depth"])
def test_all_kinds_of_picture_lie_on_one_another_whatever_their_size(kind: str, side: int) -> None:
    """Of half a picture of 225 px, 113 px, the last row and column belong to it by half only."""
    drawn = Image.fromarray(draw_disc(side, centre=0.8)).convert("RGB" if kind == "composite" else "L")
    pixels = decode(encode(drawn, "JPEG", quality=95), kind, 64).astype(float)
    light = pixels.mean(-1) if kind == "composite" else pixels
    light[light < light.max() / 20] = 0  # what JPEG leaves in the dark
    for axis in (0, 1):
        centre = (light.sum(axis) * (np.arange(64) + 0.5)).sum() / light.sum()
        assert centre == pytest.approx(0.8 * 64, abs=0.05)


@pytest.mark.parametrize("side", [160, 225, 512])
def test_a_large_mask_is_that_of_its_full_size(side: int) -> None:
    blobs = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8))
    data = encode(blobs.resize((side, side), Image.Resampling.BICUBIC), "JPEG")
    whole = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(data, "mask", 32), np.asarray(whole) > 127)


def test_a_turned_photograph_is_put_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    data = encode(Image.fromarray(COLOUR[:4]), exif=exif)
    picture = decode_picture(data, "composite", SIZE, "dark")
    upright = decode(encode(Image.fromarray(np.rot90(COLOUR[:4], -1))))
    assert (picture.width, picture.height) == (4, 8)
    assert np.array_equal(picture.pixels, upright)


@pytest.mark.parametrize("mark", [b"\xff\xda", b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"], ids=["mark", "scan"])
@pytest.mark.parametrize("segment", [b"\xff\xfe", b"\xff\xe0", b"\xff\xec"], ids=["comment", "preview", "APP12"])
def test_a_photograph_is_turned_whatever_stands_before_its_orientation(mark: bytes, segment: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(np.kron(COLOUR, np.ones((4, 4, 1), np.uint8))[:16]), "JPEG", exif=exif)
    before = segment + struct.pack(">H", 2 + len(mark)) + mark
    for other in (data[:2] + before + data[2:], data[:2] + b"\xff\xff" + before + data[2:]):
        picture = decode_picture(other, "composite", SIZE, "dark")
        assert (picture.width, picture.height) == (16, 32)
        assert np.array_equal(picture.pixels, decode(data))


@pytest.mark.parametrize(("width", "height"), [(160, 120), (161, 121)])
def test_a_large_turned_photograph_lies_where_an_upright_one_does(width: int, height: int) -> None:
    smooth = Image.fromarray(COLOUR).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode_picture(encode(smooth, "JPEG", exif=exif, quality=95), "composite", SIZE, "dark")
    upright = decode(encode(smooth.transpose(Image.Transpose.ROTATE_270)))
    assert (picture.width, picture.height) == (height, width)
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 1.5


def test_the_suffix_does_not_matter_but_the_format_does() -> None:
    with pytest.raises(RefusedError, match="not a JPEG or PNG picture; convert it to PNG"):
        decode(encode(Image.fromarray(COLOUR), "GIF"))


def test_a_depth_picture_in_false_colours_is_refused() -> None:
    with pytest.raises(
        RefusedError, match=r"channels differ by up to 255 .* a depth has one value .* without a colour"
    ):
        decode(encode(Image.fromarray(COLOUR)), "depth")


def decode_page(data: bytes, depth_frame: Frame, side: int = 16) -> Picture:
    return decode_picture(data, "depth", side, "dark", depth_frame)


PAGES = {"small": plot_small_page(draw_levels(112)), "wide": plot_wide_page(draw_levels(80))}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_a_drawing_on_a_white_page_is_refused_unless_asked_for(page: bytes) -> None:
    with pytest.raises(RefusedError, match=r"a drawing on a white page, .*; set data\.depth_frame to crop"):
        decode_page(page, "refuse")
    with pytest.raises(RefusedError, match="on a white page"):
        decode_picture(page, "depth", 16, "dark")
    assert decode_picture(page, "composite", 16, "dark").pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("side", [8, 16, 64, 112, 224])
def test_a_page_is_found_whatever_size_is_wanted(side: int) -> None:
    for form in ("JPEG", "PNG"):
        grey = encode(Image.open(io.BytesIO(PAGES["small"])).convert("L"), form)
        with pytest.raises(RefusedError, match="on a white page"):
            decode_page(grey, "refuse", side)


@pytest.mark.parametrize(("name", "side"), [("small", 172), ("wide", 221)])
def test_a_cropped_page_is_the_depth_map_that_was_drawn(name: str, side: int) -> None:
    picture = decode_page(PAGES[name], "crop")
    truth = np.asarray(Image.fromarray(draw_levels(224)).resize((16, 16), Image.Resampling.BILINEAR), int)
    assert (picture.width, picture.height) == (side, side)
    assert np.abs(picture.pixels.astype(int) - truth).mean() < 5
    turned = decode_picture(PAGES[name], "depth", 16, "bright", "crop").pixels
    assert np.array_equal(turned, 255 - picture.pixels)


@pytest.mark.parametrize("name", PAGES)
def test_a_kept_page_is_what_its_makers_trained_on(name: str) -> None:
    image = Image.open(io.BytesIO(PAGES[name]))
    picture = decode_page(PAGES[name], "keep")
    assert (picture.width, picture.height) == image.size
    page = decode(encode(image.convert("L")), "composite", 16)[..., 0].astype(int)
    assert np.abs(picture.pixels - page).mean() < 2.5  # depth is averaged before it is resized
    assert (picture.pixels[0] > 250).all()


def test_a_grey_page_is_cropped_and_other_colours_are_refused() -> None:
    grey = encode(Image.open(io.BytesIO(PAGES["small"])).convert("L"), "JPEG")
    levels = decode_page(grey, "crop").pixels.astype(int)
    assert levels.max() < 225
    assert np.corrcoef(levels.ravel(), decode_page(PAGES["small"], "crop").pixels.ravel())[0, 1] > 0.98
    with pytest.raises(RefusedError, match="without a colour map"):
        decode_page(plot_wide_page(draw_levels(80), colour_map="jet"), "crop")


@pytest.mark.parametrize("depth_frame", ["refuse", "crop", "keep"])
def test_what_has_no_frame_does_not_depend_on_the_setting(depth_frame: Frame) -> None:
    assert np.array_equal(decode_page(encode(Image.fromarray(RAMP)), depth_frame, SIZE).pixels, RAMP)
    with pytest.raises(RefusedError, match="without a colour map"):
        decode_page(encode(Image.fromarray(COLOUR)), depth_frame)


def test_grey_stored_as_colour_jpeg_is_still_grey() -> None:
    data = encode(Image.fromarray(RAMP).convert("RGB"), "JPEG", quality=30)
    assert np.array_equal(decode(data, "depth"), decode(encode(Image.open(io.BytesIO(data)).convert("L")), "depth"))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_truncated_picture_is_refused_whatever_others_switched_on(
    form: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), form)
    with pytest.raises(RefusedError, match=r"cannot be decoded: .*; download or copy it again"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("side", [6500, 10_000, 60_000])
def test_a_picture_bomb_is_refused_from_its_header(side: int) -> None:
    assert side**2 > MAX_PIXELS
    with pytest.raises(RefusedError, match="over 40,000,000"):
        decode(png_header(side, side))


def test_random_damage_decodes_or_is_refused() -> None:
    """Whether the pixels are right is for the CRC; nothing but a refusal may come out here."""
    chance, outcomes = random.Random(2), set()
    for form in ("JPEG", "PNG"):
        good = encode(Image.fromarray(COLOUR), form)
        for _ in range(300):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                outcomes.add(decode(bytes(data)).shape)
            except RefusedError:
                outcomes.add("refused")
    assert outcomes == {(SIZE, SIZE, 3), "refused"}


def outcome(data: bytes, kind: str) -> str | bytes:
    try:
        return decode(data, kind).tobytes()
    except RefusedError as error:
        return str(error)


@pytest.mark.parametrize("sides", [(24, 24), (25, 31), (47, 97), (100, 99), (201, 130)], ids=str)
@pytest.mark.parametrize("quality", [30, 95])
def test_at_any_fraction_a_jpeg_gives_the_same_whoever_decodes_it(sides: tuple[int, int], quality: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)
    for image, kind in ((Image.fromarray(pixels), "composite"), (Image.fromarray(pixels[..., 0]), "background")):
        data = encode(image, "JPEG", quality=quality)
        assert outcome(data, kind) == outcome(data[:2] + b"\xff\xe1\x00\x02" + data[2:], kind)


@pytest.mark.parametrize("kind", ["composite", "mask", "depth"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}, {"quality": 20}], ids=str
)
def test_whole_or_damaged_a_jpeg_gives_the_same_whoever_decodes_it(kind: str, options: dict[str, Any]) -> None:
    """An empty APP1 segment changes no pixel, and leaves the picture to Pillow."""
    chance = random.Random(3)
    pixels = np.kron(COLOUR if kind == "composite" else RAMP, np.ones((3, 3) + (1,) * (kind == "composite"), np.uint8))
    good = encode(Image.fromarray(pixels.astype(np.uint8)), "JPEG", **options)
    seen = set()
    for number in range(80):
        data = bytearray(good)
        for _ in range(number and chance.randrange(1, 4)):
            data[chance.randrange(2, len(data))] = chance.randrange(256)
        found = outcome(bytes(data), kind)
        assert found == outcome(bytes(data[:2]) + b"\xff\xe1\x00\x02" + bytes(data[2:]), kind)
        seen.add(type(found))
    assert seen == {bytes, str}


def repeat_last_scan(data: bytes, count: int) -> bytes:
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@pytest.mark.parametrize("extra", [b"", b"\xff\xe1\x00\x02"], ids=["plain", "with EXIF"])
@pytest.mark.parametrize("kind", ["composite", "depth"])
def test_a_jpeg_of_scans_without_end_is_refused_at_once(kind: str, extra: bytes) -> None:
    shades = Image.linear_gradient("L").resize((500, 500))
    data = encode(shades if kind == "depth" else shades.convert("RGB"), "JPEG", progressive=True)
    data = data[:2] + extra + data[2:]
    num_scans = data.count(b"\xff\xda")
    assert 5 < num_scans < 15
    decode(repeat_last_scan(data, MAX_SCANS - num_scans + 1), kind)
    with pytest.raises(RefusedError, match="it has over 200 scans, each as long to decode as a picture; save it again"):
        decode(repeat_last_scan(data, MAX_SCANS - num_scans + 2), kind)


MEASURED = """
import re, sys
from pathlib import Path
from maskdepth.data.pictures.decoding import decode_picture

def most_memory():  # of this program alone; ru_maxrss begins with that of the program which started it
    return int(re.search("VmHWM: *([0-9]+) kB", Path("/proc/self/status").read_text().expandtabs())[1])

data, ramp = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()
decode_picture(ramp, "depth", 64, "dark", "crop")  # what the libraries themselves take
before = most_memory()
decode_picture(data, sys.argv[3], 64, "dark", "crop", int(sys.argv[4]))
print(1024 * (most_memory() - before))
"""


def draw_wide_page(side: int) -> Image.Image:
    """Draw a page with hardly any margin: nearly all of it is looked at, and kept."""
    page = np.full((side, side, 3), 255, np.uint8)
    margin = side // 40
    levels = np.arange(side - 2 * margin) // 8 % 256
    page[margin:-margin, margin:-margin] = matplotlib.colormaps["viridis"](levels, bytes=True)[:, None, :3]
    return Image.fromarray(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "form", "options"),
    [
        ("depth", "RGBA", "PNG", {"compress_level": 1}),
        ("depth", "CMYK", "JPEG", {"progressive": True}),
        ("depth", "RGB", "JPEG", {}),
        ("depth", "I;16", "PNG", {"compress_level": 1}),
        ("mask", "L", "JPEG", {"progressive": True}),
        ("composite", "RGBA", "PNG", {"compress_level": 1}),
    ],
)
def test_the_largest_picture_takes_no_more_memory_than_the_settings_say(
    kind: str, mode: str, form: str, options: dict[str, Any], tmp_path: Path
) -> None:
    settings = SHIPPED_PARAMS.read_text()
    (told,) = re.findall(r"max_pixels: (\d+) .* takes 4 to (\d+) bytes a pixel while it is decoded", settings)
    max_pixels, bytes_a_pixel = map(int, told)
    page = draw_wide_page(int(max_pixels**0.5))
    image = page if mode != "I;16" else Image.fromarray(np.asarray(page.convert("L")).astype(np.uint16) * 257)
    (tmp_path / "large").write_bytes(encode(image.convert(mode), form, **options))
    (tmp_path / "small").write_bytes(PAGES["small"])
    command = [sys.executable, "-c", MEASURED, tmp_path / "large", tmp_path / "small", kind, str(max_pixels)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 1 < int(done.stdout) / max_pixels <= bytes_a_pixel


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_whole_picture_has_the_pixels_that_pillow_gives(mode, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    picture.save(content, "JPEG" if mode == "CMYK" else "PNG", exif=exif)
    with Image.open(io.BytesIO(content.getvalue())) as opened:
        expected = ImageOps.exif_transpose(opened)
    whole = decode_whole(content.getvalue())
    assert (whole.mode, whole.size) == (expected.mode, expected.size)
    assert np.array_equal(np.asarray(whole), np.asarray(expected))
    assert np.array_equal(np.asarray(decode_colour(content.getvalue())), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_whole_photograph_has_the_pixels_that_pillow_gives(quality, subsampling):
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)).resize((61, 47))
    content = io.BytesIO()
    smooth.save(content, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(io.BytesIO(content.getvalue())) as opened:
        assert np.array_equal(np.asarray(decode_colour(content.getvalue())), np.asarray(opened.convert("RGB")))


def test_a_mask_at_its_own_size_is_that_of_the_pipeline():
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 3:12] = 255
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    whole = decode_mask(content.getvalue())
    assert np.array_equal(whole, mask > 127)
    assert np.array_equal(whole, decode_picture(content.getvalue(), "mask", 16, "dark").pixels)
