"""What happens between two photographs of one scene: a camera that moves, other light, noise, JPEG, blur."""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Levels = NDArray[np.float64]  # of 255, before they are rounded to those of a picture
Change = Callable[[Pixels, np.random.Generator], Pixels]

# How backgrounds are shown: as they were disturbed, or registered with their composites after that.
DISTURBED, REGISTERED = "disturbed", "registered"
AS_IT_IS = "as it is"
# Of the samples that were disturbed, in the table of all samples.
ROBUSTNESS_COLUMNS = tuple(f"{how}_mask_iou" for how in (DISTURBED, REGISTERED))


def camera_motion(
    height: int, width: int, shift: float = 0.0, degrees: float = 0.0, zoom: float = 1.0
) -> NDArray[np.float64]:
    """Describe a camera that moves: by a share of the width and three quarters of it across, turned, and nearer.

    Returns:
        (2, 3) from a pixel (x, y, 1) of what it sees then to that of what it saw before [px].
    """
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    motion: NDArray[np.float64] = np.column_stack(
        [turn, middle - turn @ middle + shift * width * np.array([1.0, -0.75])]
    )
    return motion


def move(pixels: NDArray[Any], motion: NDArray[np.float64], aside: NDArray[Any] | float = 0.0) -> Levels:
    """Show at each pixel what was at its place under the motion, and `aside` [px] further to the right.

    What comes into view continues the border as a mirror does: nobody knows what was there.
    """
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(float)
    at_x, at_y = (row[0] * x + row[1] * y + row[2] for row in motion)
    places = [at_y, at_x + aside]
    planes = pixels.astype(float).transpose(2, 0, 1)
    moved: Levels = np.stack([ndimage.map_coordinates(plane, places, order=3, mode="reflect") for plane in planes], 2)
    return moved


def light(pixels: NDArray[Any], gain: Iterable[float], offset: Iterable[float] = (0, 0, 0)) -> Levels:
    """Multiply red, green and blue, then add to them."""
    lit: Levels = pixels * np.array([*gain]) + np.array([*offset])
    return lit


def add_noise(pixels: NDArray[Any], rng: np.random.Generator, deviation: float) -> Levels:
    """Add noise of a standard deviation [levels]."""
    return pixels + deviation * rng.normal(size=pixels.shape)


def blur(pixels: NDArray[Any], deviation: float) -> Levels:
    """Blur by a standard deviation [px]."""
    blurred: Levels = ndimage.gaussian_filter(pixels.astype(float), (deviation, deviation, 0))
    return blurred


def to_picture(levels: Levels) -> Pixels:
    """Round levels to those of a picture."""
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


def compress(pixels: Pixels, quality: int) -> Pixels:
    """Save a picture, (H, W, 3) uint8, as JPEG of a quality, 0 to 100, and read it again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _moved(shift: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Change:
    def moved(pixels: Pixels, _: np.random.Generator) -> Pixels:
        height, width, _channels = pixels.shape
        return to_picture(move(pixels, camera_motion(height, width, shift, degrees, zoom)))

    return moved


def _lit(*gain: float, offset: Iterable[float] = (0, 0, 0)) -> Change:
    return lambda pixels, _: to_picture(light(pixels, gain, offset))


# What happens between two photographs; levels of 255, sizes as shares of the width where that is not said.
DISTURBANCES: Mapping[str, Change] = {
    AS_IT_IS: lambda pixels, _: pixels,
    "moved 1 %": _moved(shift=0.008),
    "moved 4 %": _moved(shift=0.032),
    "turned 1 degree": _moved(degrees=1.0),
    "2 % nearer": _moved(zoom=1.02),
    "light x0.9": _lit(0.9, 0.9, 0.9),
    "light x1.2": _lit(1.2, 1.2, 1.2),
    "colour cast": _lit(1.08, 1.0, 0.9, offset=(3, 0, -4)),
    "JPEG 60": lambda pixels, _: compress(pixels, 60),
    "noise of 6 levels": lambda pixels, rng: to_picture(add_noise(pixels, rng, 6.0)),
    "blurred by half a pixel": lambda pixels, _: to_picture(blur(pixels, 0.5)),
}
