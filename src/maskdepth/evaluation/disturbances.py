"""What happens between two photographs of one scene: a camera that moves, other light, noise, JPEG, blur."""

import io
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]

# How backgrounds are shown: as they were disturbed, or registered with their composites after that.
DISTURBED, REGISTERED = "disturbed", "registered"
AS_IT_IS = "as it is"
# Of the samples that were disturbed, in the table of all samples.
ROBUSTNESS_COLUMNS = tuple(f"{how}_mask_iou" for how in (DISTURBED, REGISTERED))


def _move(
    pixels: Pixels, _: np.random.Generator, shift: float = 0.0, degrees: float = 0.0, zoom: float = 1.0
) -> Pixels:
    """Move the camera: by a share of the width and three quarters of it across, turned, and nearer.

    What comes into view continues the border as a mirror does: nobody knows what was there.
    """
    height, width = pixels.shape[:2]
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = middle - turn @ middle + shift * width * np.array([-0.75, 1.0])
    planes = [
        ndimage.affine_transform(plane.astype(float), turn, offset, order=3, mode="reflect")
        for plane in pixels.transpose(2, 0, 1)
    ]
    return _round(np.stack(planes, 2))


def _light(
    pixels: Pixels, _: np.random.Generator, gain: Iterable[float], offset: Iterable[float] = (0, 0, 0)
) -> Pixels:
    return _round(pixels * np.array([*gain]) + np.array([*offset]))


def compress(pixels: Pixels, quality: int) -> Pixels:
    """Save a picture, (H, W, 3) uint8, as JPEG of a quality, 0 to 100, and read it again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _add_noise(pixels: Pixels, rng: np.random.Generator, deviation: float) -> Pixels:
    return _round(pixels + deviation * rng.normal(size=pixels.shape))


def _blur(pixels: Pixels, _: np.random.Generator, deviation: float) -> Pixels:
    return _round(ndimage.gaussian_filter(pixels.astype(float), (deviation, deviation, 0)))


def _round(levels: NDArray[np.float64]) -> Pixels:
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


# What happens between two photographs; levels of 255, sizes as shares of the width where that is not said.
DISTURBANCES: Mapping[str, Change] = {
    AS_IT_IS: lambda pixels, _: pixels,
    "moved 1 %": partial(_move, shift=0.008),
    "moved 4 %": partial(_move, shift=0.032),
    "turned 1 degree": partial(_move, degrees=1.0),
    "2 % nearer": partial(_move, zoom=1.02),
    "light x0.9": partial(_light, gain=(0.9, 0.9, 0.9)),
    "light x1.2": partial(_light, gain=(1.2, 1.2, 1.2)),
    "colour cast": partial(_light, gain=(1.08, 1.0, 0.9), offset=(3, 0, -4)),
    "JPEG 60": lambda pixels, _: compress(pixels, 60),
    "noise of 6 levels": partial(_add_noise, deviation=6.0),
    "blurred by half a pixel": partial(_blur, deviation=0.5),
}
