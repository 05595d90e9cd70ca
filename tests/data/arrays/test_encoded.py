"""Proves that pictures kept encoded read like an array of their pixels, and that a damaged file is named."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from maskdepth.data.arrays.encoded import Decoding, EncodedArray, lay_out
from maskdepth.data.pictures.decoding import decode_picture

Pixels = npt.NDArray[np.uint8]

SIZE = 8
DECODING = Decoding(SIZE, "dark", "refuse", 1_000_000)


def encode(pixels: Pixels, form: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def draw(count: int) -> list[bytes]:
    """JPEG and PNG in turn, of two sizes."""
    random = np.random.default_rng(0)
    sides = [SIZE if number % 3 else 4 * SIZE for number in range(count)]
    return [
        encode(random.integers(0, 256, (side, side, 3), np.uint8), "JPEG" if number % 2 else "PNG")
        for number, side in enumerate(sides)
    ]


def write(path: Path, pictures: list[bytes], kind: str = "composite") -> EncodedArray:
    path.write_bytes(b"".join(pictures))
    return EncodedArray(path, lay_out([len(picture) for picture in pictures]), kind, (3,), DECODING)


@pytest.fixture(params=["background", "composite"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[EncodedArray, Pixels]:
    """The same eleven pictures encoded, and as pixels; what was decoded of backgrounds is kept."""
    pictures = draw(11)
    whole = np.stack([decode_picture(picture, request.param, SIZE, "dark").pixels for picture in pictures])
    return write(tmp_path / "pictures.bin", pictures, request.param), whole


@pytest.mark.parametrize("rows", [[], [3], [10, 0, 0, 4, 10], list(range(11))])
def test_it_gives_what_an_array_of_the_pixels_gives(pair: tuple[EncodedArray, Pixels], rows: list[int]) -> None:
    array, whole = pair
    wanted = np.array(rows, np.int64)
    out = np.full((len(rows), SIZE, SIZE, 3), 7, np.uint8)
    assert (len(array), array.shape) == (len(whole), whole.shape)
    for _ in range(2):  # what was decoded before is the same
        assert array.take(wanted, out) is out
        assert np.array_equal(out, whole[wanted])
        assert np.array_equal(array.take(wanted), whole[wanted])


def test_what_was_taken_is_the_callers_own(pair: tuple[EncodedArray, Pixels]) -> None:
    array, whole = pair
    array.take(np.array([1]))[:] = 0
    assert np.array_equal(array.take(np.array([1])), whole[[1]])


def test_a_picture_of_no_length_is_black(tmp_path: Path) -> None:
    pictures = draw(2)
    path = tmp_path / "composite.bin"
    path.write_bytes(b"".join(pictures))
    spans = lay_out([len(picture) for picture in pictures])
    spans[0, 1] = 0
    array = EncodedArray(path, spans, "composite", (3,), DECODING)
    assert not array.take(np.array([0])).any()
    assert array.take(np.array([1])).any()


def test_a_file_in_which_nothing_is_left_can_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mask.bin").touch()
    array = EncodedArray(tmp_path / "mask.bin", lay_out([0, 0]), "mask", (), DECODING)
    assert array.take(np.array([1, 0])).tolist() == np.zeros((2, SIZE, SIZE)).tolist()


def test_a_short_file_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "mask.bin").write_bytes(b"1234")
    with pytest.raises(ValueError, match=r"mask\.bin has 4 bytes, its pictures 5"):
        EncodedArray(tmp_path / "mask.bin", lay_out([2, 3]), "mask", (), DECODING)


def test_a_picture_that_was_damaged_is_named(tmp_path: Path) -> None:
    pictures = draw(3)
    pictures[1] = bytes(len(pictures[1]))
    array = write(tmp_path / "composite.bin", pictures)
    with pytest.raises(ValueError, match=r"composite\.bin: picture 1: it is not a JPEG or PNG picture"):
        array.take(np.arange(3))
