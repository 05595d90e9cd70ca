"""Two encoded pictures in, three encoded maps out: what a server answers, whoever asks and whatever they send.

Texts, bytes, pixels and pairs are bounded before anything is done with them, so that the time of an answer is, too.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskdepth.data.pictures.decoding import MAX_PIXELS, Picture, decode_colour, decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.registration import register
from maskdepth.models.catalogue import SMALLEST_SIDE
from maskdepth.process.console import readable_size
from maskdepth.serving.drawing import cut_out
from maskdepth.serving.exporting import Exported
from maskdepth.serving.files import check_shapes
from maskdepth.serving.refinement import refine_mask

# Of one request: with MAX_PIXELS in all, a pair of photographs of 20 megapixels each or 16 pairs of 1.2.
MOST_PAIRS = 16
# Of one picture; the largest photographs come to 30 MB, also as PNG.
MOST_BYTES = 32 * 2**20

_DEEPEST = 65535

Pixels = NDArray[np.uint8]


class _File(NamedTuple):
    """One picture of a request.

    Attributes:
        data: As it was encoded.
        picture: As the network sees it, and its size.
    """

    data: bytes
    picture: Picture


class PairPredictor:
    """Answers pairs of encoded pictures with an exported network.

    Args:
        exported: The network.
    """

    def __init__(self, exported: Exported) -> None:
        self._network = exported.program.module()
        self._side = exported.image_size

    def answer(
        self, pairs: Sequence[tuple[object, object]], threshold: float, *, registers: bool
    ) -> list[dict[str, Any]]:
        """Predict all pairs of a request.

        Args:
            pairs: Background and composite of each, JPEG or PNG in base64.
            threshold: Mask probability above which a pixel belongs to the object, (0, 1).
            registers: Lay each background over its composite first.

        Returns:
            For each pair `mask` (8 bit, 0 or 255), `depth` (16 bit, 0 is near) and `cutout` (RGBA), PNG in base64, all
            of the composite's size; `width` and `height` [px]; `object_share`, of the pixels, [0, 1]; `registration`,
            what was done to the background.

        Raises:
            RefusedError: Something in the request cannot be used; says what, where and what to do.
        """
        if not 0 < threshold < 1:
            raise RefusedError(f"the threshold is {threshold:g}", "give a number between 0 and 1")
        if not 0 < len(pairs) <= MOST_PAIRS:
            raise RefusedError(f"there are {len(pairs)} pairs", f"send 1 to {MOST_PAIRS} in a request")
        # Nothing is predicted before all of them are known to be usable.
        read = list(self._read_pairs(pairs))
        return [self._answer(*pair, threshold, registers) for pair in read]

    def _read_pairs(self, pairs: Sequence[tuple[object, object]]) -> Iterator[tuple[_File, _File]]:
        left = MAX_PIXELS
        for number, pair in enumerate(pairs, 1):
            where = f"pair {number}, " if len(pairs) > 1 else ""
            files = []
            for kind, text in zip(("background", "composite"), pair, strict=True):
                with _naming(f"{where}{kind}"):
                    files.append(self._read(text))
                    left -= files[-1].picture.width * files[-1].picture.height
                    if left < 0:
                        raise RefusedError(
                            f"with it there are over {MAX_PIXELS:,} pixels", "send fewer or smaller ones"
                        )
            with _naming(where.removesuffix(", ")):
                background, composite = ((file.picture.width, file.picture.height) for file in files)
                check_shapes(background, composite)
            yield files[0], files[1]

    def _read(self, text: object) -> _File:
        """Take a picture out of its text, by the rules of training."""
        if not isinstance(text, str):
            raise RefusedError(f"it is {type(text).__name__}, no text", "send the file's bytes in base64")
        if len(text) > 4 * MOST_BYTES // 3 + 4:
            raise RefusedError(f"it has over {readable_size(MOST_BYTES)}", "shrink it")
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise RefusedError(f"it is no base64 ({error})", "encode the file's bytes again") from error
        picture = decode_picture(data, "composite", self._side, "dark")
        if min(picture.width, picture.height) < SMALLEST_SIDE:
            size = f"it has {picture.width} x {picture.height} pixels"
            raise RefusedError(size, f"expected {SMALLEST_SIDE} or more a side")
        return _File(data, picture)

    def _answer(self, background: _File, composite: _File, threshold: float, registers: bool) -> dict[str, Any]:
        whole = np.asarray(decode_colour(composite.data))
        height, width = whole.shape[:2]
        behind = _resize(np.asarray(decode_colour(background.data)), width, height)
        seen, told = background.picture.pixels, "not asked for"
        if registers:
            found = register(behind, whole)
            behind, told = found.background, found.describe()
            if found.verdict == "registered":
                seen = _resize(behind, self._side, self._side)
        coarse_mask, coarse_depth = self._run(seen, composite.picture.pixels)
        mask_prob = refine_mask(coarse_mask, behind, whole)
        depth = _resize(coarse_depth, width, height).clip(0, 1)
        mask = np.where(mask_prob > threshold, 255, 0).astype(np.uint8)
        return {
            "mask": encode_png(mask),
            "depth": encode_png((depth * _DEEPEST).round().astype(np.uint16)),
            "cutout": encode_png(cut_out(whole, mask_prob)),
            "width": width,
            "height": height,
            "object_share": float((mask > 0).mean()),
            "registration": told,
        }

    @torch.inference_mode()
    def _run(self, background: Pixels, composite: Pixels) -> list[NDArray[np.float32]]:
        """Predict one pair (S, S, 3); mask probability and depth are (S, S)."""
        pictures = (
            torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255 for picture in (background, composite)
        )
        return [maps[0, 0].numpy() for maps in self._network(*pictures)]


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say in a refusal what of the request is refused."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(error.reason, error.cure, where) from error


def _resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize (H, W) or (H, W, 3) pixels with antialiasing, as the pictures of training were."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def encode_png(pixels: NDArray[Any]) -> str:
    """Encode (H, W), (H, W, 3) or (H, W, 4) pixels as PNG in base64."""
    file = io.BytesIO()
    # The fastest level takes half the time of the usual one, for a few percent more bytes.
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")
