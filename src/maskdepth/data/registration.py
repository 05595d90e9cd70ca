"""Two photographs of one scene laid over each other: where the camera moved in between, and how the light changed.

The object hides a part of the background and fits no motion of it; weights that fall with the residual take it out.
A motion is an affine matrix (2, 3) that leads from the composite to the background, in coordinates whose origin is the
picture's middle and whose unit is half of its longer side: it says the same at every size.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns
Numbers = NDArray[np.float64]
Verdict = Literal["left as it was", "registered", "does not fit"]

NO_FIT = "these two pictures do not fit"

# Longest side at which is measured [px]: twice as much makes 1080p exact to 0.2 px instead of 0.3, at thrice the time.
_MEASURED_SIDE = 320
# Blur before measuring [px]: a picture moved by half a pixel is smoother than one that is not, and would seem better.
_BLUR = 1.25
# Longest side at which the search begins, and the shortest that still shows something [px].
_FIRST_SIDE, _SHORTEST_SIDE = 64, 16
# How far the search looks [px]: 5 % of a side of 64, twice that of the smallest.
_REACH = 3
# Rounds of the refinement at each size, and the change at which it ends sooner [px].
_ROUNDS, _STILL = 5, 0.01
# What a first round finds of two pictures that fit already: a tenth of a pixel at the corners, half a grey level in the
# middle, and three quarters in one channel, of the pixels that show the same.
_FITTING, _AS_BRIGHT, _AS_COLOURED = 0.1, 0.5, 0.75
# So many pixels tell a motion, or a light, as well as all of them.
_ENOUGH_TO_MOVE, _ENOUGH_TO_LIGHT = 8000, 1000
# Grey levels of 255: residuals below are noise of sensor and JPEG; from the next on, another thing is seen; a window
# of the picture with less contrast than the last shows nothing by which to know it.
_NOISE, _ANOTHER, _CONTRAST = 2.0, 12.0, 3.0
# The darkest and the brightest level that tell how much light there was: what is clipped does not.
_DARKEST, _BRIGHTEST = 3, 252
# What is changed must take away so much of the difference.
_WORTH = 0.03
# Largest shift, and turn or zoom, of two pictures that people would call the same view; largest gain.
_FARTHEST, _STEEPEST, _STRONGEST = 0.16, 0.1, 3.0
# Two pictures of one scene are alike in so much of it at least; the object may hide the rest.
_ALIKE = 0.45


class Light(NamedTuple):
    """How bright a picture is beside another.

    Attributes:
        gain: (3,) by which R G B are multiplied.
        offset: (3,) that is added then [grey levels of 255].
    """

    gain: Numbers
    offset: Numbers

    def shine(self, planes: Map) -> Map:
        """Change the light of planes (3, ...), [0, 255]."""
        shape = (3,) + (1,) * (planes.ndim - 1)
        gain, offset = (each.astype(np.float32).reshape(shape) for each in self)
        lit: Map = np.clip(planes * gain + offset, 0, 255)
        return lit


class Registration(NamedTuple):
    """A background that lies over its composite.

    Attributes:
        background: (H, W, 3) uint8 RGB; the very array that was given unless the verdict is "registered".
        matrix: (2, 3) from a pixel of the composite (x, y, 1) to that of the given background [px].
        light: What made the given background as bright as the composite.
        verdict: What was done.
        reason: Why the pictures do not fit; "" if they do.
    """

    background: Pixels
    matrix: Numbers
    light: Light
    verdict: Verdict
    reason: str

    def describe(self) -> str:
        """Say in a line what was done."""
        if self.verdict == "does not fit":
            return f"{NO_FIT}: {self.reason}"
        return ", ".join([*self._describe_motion(), *self._describe_light()]) or self.verdict

    def move(self, levels: Pixels) -> Pixels:
        """Move a map of the given background, (h, w) at any size, as it was moved; where it ends, its edge goes on."""
        scale = np.array(self.background.shape[1::-1]) / levels.shape[::-1]  # of columns and of rows
        enlarge = np.vstack([np.column_stack([np.diag(scale), (scale - 1) / 2]), [0, 0, 1]])
        matrix = np.linalg.inv(enlarge) @ np.vstack([self.matrix, [0, 0, 1]]) @ enlarge
        linear, shift = matrix[1::-1, 1::-1], matrix[1::-1, 2]  # rows come before columns there
        moved: Pixels = ndimage.affine_transform(levels, linear, shift, order=1, mode="nearest")
        return moved

    def _describe_motion(self) -> list[str]:
        """Say how what the background shows had to move: right and down, counter-clockwise, and in size."""
        if np.array_equal(self.matrix, np.eye(2, 3)):
            return []
        height, width = self.background.shape[:2]
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        back = np.linalg.inv(self.matrix[:, :2])
        right, down = back @ (middle - self.matrix[:, 2]) - middle
        degrees = float(np.degrees(np.arctan2(back[0, 1] - back[1, 0], back[0, 0] + back[1, 1])))
        percent = 100 * float(np.sqrt(np.linalg.det(back)) - 1)
        parts = [f"moved {right:z.1f}, {down:z.1f} px"]
        if abs(degrees) >= 0.05:
            parts.append(f"turned {degrees:.1f} degrees")
        if abs(percent) >= 0.1:
            parts.append(f"{abs(percent):.1f} % {'larger' if percent > 0 else 'smaller'}")
        return parts

    def _describe_light(self) -> list[str]:
        # Gain and offset trade against each other; what becomes of the middle grey is what one sees.
        levels = self.light.gain + self.light.offset / 128
        light = float(levels.mean())
        parts = [f"light x{light:.2f}"] if abs(light - 1) >= 0.005 else []
        if np.ptp(levels) >= 0.02 * light:
            parts.append("colours x" + ", x".join(f"{level:.2f}" for level in levels / light))
        return parts


def check_pixels(background: Pixels, composite: Pixels) -> None:
    """Refuse arrays that are no pictures.

    Raises:
        ValueError: One is not uint8 of shape (height, width, 3), or is empty.
    """
    for name, picture in (("background", background), ("composite", composite)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(
                f"{name}: found {picture.dtype} of shape {picture.shape}; expected uint8 of shape (height, width, 3)"
            )


def register(background: Pixels, composite: Pixels) -> Registration:
    """Lay a background over its composite; pure.

    Two pictures that fit already stay bit for bit as they are. Of others are tried the background in another light,
    and moved as well; each is taken only where it makes the difference smaller than the one before by 3 %.

    Args:
        background: (H, W, 3) uint8 RGB, the scene without the object.
        composite: (H, W, 3) uint8 RGB, the scene with it.

    Raises:
        ValueError: An array is no such picture, or they differ in size.

    Reference:
        Baker and Matthews 2004, Lucas-Kanade 20 years on: forwards compositional, with an affine gain as in their
        part 3 and M-estimator weights as in part 2. Evangelidis and Psarakis 2008 (ECC) weigh all pixels alike.
    """
    check_pixels(background, composite)
    if background.shape != composite.shape:
        sizes = "the background has {1} x {0} pixels, the composite {3} x {2}".format(
            *background.shape[:2], *composite.shape[:2]
        )
        raise ValueError(f"{sizes}; resize one of them to the size of the other")
    source, target = (_prepare(picture) for picture in (background, composite))
    left = Registration(background, np.eye(2, 3), Light(np.ones(3), np.zeros(3)), "left as it was", "")
    if min(target.shape[1:]) < _SHORTEST_SIDE:
        return left
    # Colours and likeness show at half the size as well, where they cost a quarter.
    coarse = _halve(source), _halve(target)
    if _fits_already(*coarse, max(composite.shape)):
        return left
    motion, light, seen = _choose(_motions(source, target), *coarse)
    if (alike := _measure_likeness(seen, coarse[1])) < _ALIKE:
        reason = f"{100 * alike:.0f} % of the view is alike, expected {100 * _ALIKE:.0f} % or more beside the object"
        return left._replace(verdict="does not fit", reason=reason)
    if seen is coarse[0]:
        return left
    matrix = _to_pixels(motion, *composite.shape[:2])
    return Registration(_render(background, composite, motion, light), matrix, light, "registered", "")


def _prepare(picture: Pixels) -> Map:
    """Average a picture down to the side that is measured, and blur it: (3, h, w), [0, 255]."""
    height, width = picture.shape[:2]
    # Most pixels of a large picture are not needed for the average, and are never touched.
    step = max(1, max(height, width) // (2 * _MEASURED_SIDE))
    share = min(1, _MEASURED_SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = Image.fromarray(picture[::step, ::step]).resize(size, Image.Resampling.BOX)
    planes = np.asarray(small, np.float32).transpose(2, 0, 1)
    blurred: Map = ndimage.gaussian_filter(planes, (0, _BLUR, _BLUR), truncate=3)
    return blurred


def _fits_already(source: Map, target: Map, side: int) -> bool:
    """Tell by one round of the refinement that there is no motion and no other light to be looked for.

    Args:
        source: (3, h, w), [0, 255].
        target: (3, h, w), [0, 255].
        side: Longer one of the pictures [px].
    """
    apart = target - source
    alike = np.abs(apart).max(0) < _ANOTHER
    if alike.mean() < _ALIKE or np.abs(np.median(apart[:, alike], axis=1)).max() > _AS_COLOURED:
        return False
    motion, (gain, offset) = _refine(source.mean(0), target.mean(0), np.eye(2, 3), np.array([1.0, 0.0]), rounds=1)
    corners = np.array([[-1, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    moved = np.linalg.norm((motion - np.eye(2, 3)) @ corners, axis=0).max() * side / 2
    return bool(moved < _FITTING and abs(128 * gain + offset - 128) < _AS_BRIGHT)


def _motions(source: Map, target: Map) -> list[Numbers]:
    """List the motions to try: none, and the one found if it is one that a camera makes between two pictures."""
    still = np.eye(2, 3)
    motion = _find_motion(source.mean(0), target.mean(0))
    change = np.abs(motion - still)
    is_small = change[:, :2].max() < _STEEPEST and change[:, 2].max() < _FARTHEST
    return [still, motion] if is_small else [still]


def _choose(motions: list[Numbers], source: Map, target: Map) -> tuple[Numbers, Light, Map]:
    """Try motions in turn, each with its light, and give the last that was worth it; and the source (3, h, w) so."""
    chosen = np.eye(2, 3), Light(np.ones(3), np.zeros(3)), source
    for motion in motions:
        moved = _move(source, motion)
        light = _fit_light(moved, target)
        lit = light.shine(moved)
        # What was too bright for the camera may have been as bright as it is now.
        lit = np.where(moved >= _BRIGHTEST, np.maximum(lit, target), lit)
        if _is_better(lit, chosen[2], target):
            chosen = motion, light, lit
    return chosen


def _find_motion(source: Map, target: Map) -> Numbers:
    """Find where the source shows what the target does, both grey (h, w): first by whole pixels, then ever finer."""
    pyramid = [np.stack([source, target])]
    while max(pyramid[-1].shape) > _FIRST_SIDE and min(pyramid[-1].shape[1:]) >= 2 * _SHORTEST_SIDE:
        pyramid.append(_halve(pyramid[-1]))
    motion = _search(*pyramid[-1])
    light = np.array([np.median(target) / max(1.0, float(np.median(source))), 0.0])
    for pair in reversed(pyramid):
        motion, light = _refine(pair[0], pair[1], motion, light)
    return motion


def _halve(planes: Map) -> Map:
    """Average 2 by 2 pixels of planes (n, h, w), but for an odd last row or column."""
    height, width = (side // 2 * 2 for side in planes.shape[1:])
    rows = planes[:, :height:2, :width] + planes[:, 1:height:2, :width]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) / 4, np.float32)


def _search(source: Map, target: Map) -> Numbers:
    """Find the shift by whole pixels under which most of two small grey pictures (h, w) is alike."""
    height, width = target.shape
    first, second = _detail(source), _detail(target)
    still = second[_REACH:-_REACH, _REACH:-_REACH]
    windows = np.lib.stride_tricks.sliding_window_view(first, still.shape)
    costs = [[_saturate(window - still, 2 * _NOISE).mean() for window in row] for row in windows]
    down, right = np.unravel_index(np.argmin(costs), (2 * _REACH + 1, 2 * _REACH + 1))
    unit = _unit(height, width)
    return np.array([[1, 0, (right - _REACH) / unit], [0, 1, (down - _REACH) / unit]])


def _detail(grey: Map) -> Map:
    """Take away what changes slowly, as light does."""
    return np.asarray(grey - ndimage.uniform_filter(grey, max(grey.shape) // 6), np.float32)


def _saturate(residual: Map, scale: float) -> Map:
    """Geman and McClure's r^2 / (r^2 + s^2): noise costs little, and what differs at most 1, however much it does."""
    squared = np.square(residual)
    cost: Map = (squared / (squared + scale**2)).astype(np.float32, copy=False)
    return cost


def _refine(
    source: Map, target: Map, motion: Numbers, light: Numbers, rounds: int = _ROUNDS
) -> tuple[Numbers, Numbers]:
    """Fit six numbers of motion, gain and offset by Gauss-Newton steps with Geman and McClure's weights.

    Args:
        source: (h, w) grey, [0, 255].
        target: (h, w) grey, [0, 255].
        motion: (2, 3) to start from.
        light: (2,) gain and offset [grey levels] to start from.
        rounds: Steps at most.

    Returns:
        Better ones; those it was given where too little of the source would be left to see.
    """
    unit = _unit(*target.shape)
    y, x = _grid(*target.shape)
    slopes = np.gradient(target)
    for _ in range(rounds):
        gain, offset = light.astype(np.float32)
        warped = _move(source, motion)
        steep = np.gradient(warped)
        shown = np.flatnonzero(np.isfinite(steep[0] + steep[1]))
        if 2 * len(shown) < target.size:
            break
        shown = _thin(shown, _ENOUGH_TO_MOVE)
        grey, wanted, x_, y_ = (each.ravel()[shown] for each in (warped, target, x, y))
        # The mean slope of both pictures is right to second order (Benhimane and Malis 2004).
        down, right = (
            (gain * one.ravel()[shown] + other.ravel()[shown]) * np.float32(unit / 2)
            for one, other in zip(steep, slopes, strict=True)
        )
        rows = np.stack([right * x_, right * y_, right, down * x_, down * y_, down, grey, np.ones_like(grey)])
        step = _solve(rows, wanted - gain * grey - offset)
        change = np.eye(3)
        change[:2] += step[:6].reshape(2, 3)
        motion, light = motion @ change, light + step[6:]
        if np.abs(step[:6]).max() * unit < _STILL:
            break
    return motion, light


def _thin(positions: NDArray[np.int64], enough: int) -> NDArray[np.int64]:
    """Leave out all but about enough of many positions (n,), evenly."""
    return positions[:: 1 + len(positions) // enough]


def _solve(rows: Map, residual: Map) -> Numbers:
    """Solve for the step (k,) that takes away most of a residual (n,), of which each row (k, n) is a part."""
    middle = len(residual) // 2
    scale = max(_NOISE, 1.5 * float(np.partition(np.abs(residual), middle)[middle]))
    weighted = rows / np.square(1 + np.square(residual / np.float32(scale)))
    normal = (weighted @ rows.T).astype(float)
    # What a picture without texture cannot tell stays as it is.
    normal[np.diag_indices(len(normal))] *= 1 + 1e-4
    normal[np.diag_indices(len(normal))] += 1e-3
    return np.linalg.solve(normal, (weighted @ residual).astype(float))


def _fit_light(moved: Map, target: Map) -> Light:
    """Fit gain and offset of each channel where both (3, h, w) show the same, and neither is clipped."""
    low, high = np.minimum(moved, target).min(0), np.maximum(moved, target).max(0)
    usable = np.flatnonzero((low > _DARKEST) & (high < _BRIGHTEST))  # NaN is neither
    if len(usable) < _SHORTEST_SIDE**2:
        return Light(np.ones(3), np.zeros(3))
    levels, wanted = (planes.reshape(3, -1)[:, _thin(usable, _ENOUGH_TO_LIGHT)] for planes in (moved, target))
    fits = [_fit_line(*channel) for channel in zip(levels, wanted, strict=True)]
    return Light(*np.array(fits).T)


def _fit_line(levels: Map, wanted: Map) -> tuple[float, float]:
    """Fit wanted (n,) = gain * levels (n,) + offset with Geman and McClure's weights."""
    gain = float(np.median(wanted) / np.median(levels))
    offset = 0.0
    rows = np.stack([levels, np.ones_like(levels)])
    for _ in range(_ROUNDS):
        step = _solve(rows, wanted - np.float32(gain) * levels - np.float32(offset))
        gain, offset = gain + step[0], offset + step[1]
    return float(np.clip(gain, 1 / _STRONGEST, _STRONGEST)), offset


def _is_better(tried: Map, before: Map, target: Map) -> bool:
    """Tell whether a try is worth it, by the pixels (3, h, w) that show what the target shows, before or now."""
    shown = np.isfinite(tried[0])
    now, earlier = (_saturate(each - target, _ANOTHER).mean(0)[shown] for each in (tried, before))
    alike = np.minimum(now, earlier) < 0.5
    # Where there is next to no difference, a share of it says nothing: noise that moving made smoother would do.
    floor = (_NOISE / _ANOTHER) ** 2 / 4
    return bool((now[alike] + floor).sum() < (1 - _WORTH) * (earlier[alike] + floor).sum())


def _measure_likeness(seen: Map, target: Map) -> float:
    """Give the share of two pictures (3, h, w) that is alike: windows that correlate or, if bare, are as bright."""
    first, second = np.where(np.isfinite(seen), seen, target).mean(0), target.mean(0)
    window = max(target.shape) // 12
    means = [ndimage.uniform_filter(grey, window) for grey in (first, second)]
    variances = [_blur_product(grey, grey, window) - mean**2 for grey, mean in zip((first, second), means, strict=True)]
    covariance = _blur_product(first, second, window) - means[0] * means[1]
    correlates = covariance > 0.5 * np.sqrt(np.maximum(variances[0] * variances[1], 1))
    is_bare = np.maximum(*variances) < _CONTRAST**2
    return float(np.where(is_bare, np.abs(means[0] - means[1]) < _ANOTHER, correlates).mean())


def _blur_product(one: Map, other: Map, window: int) -> Map:
    return np.asarray(ndimage.uniform_filter(one * other, window), np.float32)


def _render(background: Pixels, composite: Pixels, motion: Numbers, light: Light) -> Pixels:
    """Move a whole background and change its light; what it does not show is filled by `_fill`."""
    levels = light.shine(np.tile(np.arange(256, dtype=np.float32), (3, 1))).round().astype(np.uint8)
    image = Image.fromarray(background).point(levels.ravel().tolist())
    height, width = background.shape[:2]
    corners = _to_corners(motion, height, width)
    numbers = corners.ravel().tolist()
    # A large picture is made smaller before a network sees it, and the finer way would take three times as long.
    resampling = Image.Resampling.BICUBIC if max(height, width) <= 2 * _MEASURED_SIDE else Image.Resampling.BILINEAR
    pixels = np.array(image.transform(image.size, Image.Transform.AFFINE, numbers, resampling))
    shown = Image.new("1", image.size, 1).transform(image.size, Image.Transform.AFFINE, numbers)
    rows, columns = np.nonzero(~np.asarray(shown))
    hidden = rows, columns
    _fill(pixels, hidden, _find_edge(hidden, corners, height, width), composite)
    # What was too bright for the camera may have been any brighter; so it was as bright as it is now, if that is more.
    for channel, brightest in enumerate(levels[:, -1]):
        if brightest < _BRIGHTEST:
            plane = pixels[..., channel]
            clipped = np.nonzero(plane >= brightest - 1)
            plane[clipped] = np.maximum(plane[clipped], composite[..., channel][clipped])
    return pixels


def _find_edge(hidden: Places, motion: Numbers, height: int, width: int) -> Places:
    """Find where a moved picture ends, next to each pixel that it does not show.

    Args:
        hidden: Those pixels, of the picture as it is moved to.
        motion: (2, 3) in pixels from the corner.
        height: Of the picture [px].
        width: Of the picture [px].
    """
    linear, shift, sides = motion[:, :2], motion[:, 2:], np.array([[width], [height]])
    nearest = (linear @ (np.stack(hidden[::-1]) + 0.5) + shift).clip(1.5, sides - 1.5)
    columns, rows = (np.linalg.inv(linear) @ (nearest - shift)).astype(np.int64).clip(0, sides - 1)
    return rows, columns


def _fill(pixels: Pixels, hidden: Places, edge: Places, composite: Pixels) -> None:
    """Fill what a background does not show as the composite has it, so that nothing differs there but an object.

    An object that stands at the edge goes on behind it: what has its colour there, and not that of the scene, differs
    as much as it does.
    """
    pixels[hidden] = composite[hidden]
    step = pixels[edge].astype(np.int16) - composite[edge]
    steep = np.abs(step).max(1) >= _ANOTHER
    places = hidden[0][steep], hidden[1][steep]
    here, step = composite[places].astype(np.int16), step[steep]
    away = here - composite[edge[0][steep], edge[1][steep]]
    is_object = np.abs(away).sum(1, keepdims=True) <= np.abs(away - step).sum(1, keepdims=True)
    pixels[places] = np.where(is_object, here + step, here).clip(0, 255)


def _move(planes: Map, motion: Numbers) -> Map:
    """Move grey (h, w) or planes (3, h, w); NaN where nothing is shown."""
    if planes.ndim == 3:
        return np.stack([_move(plane, motion) for plane in planes])
    numbers = _to_corners(motion, *planes.shape).ravel().tolist()
    image = Image.fromarray(planes)
    return np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR, fillcolor=np.nan)
    )


def _unit(height: int, width: int) -> float:
    return max(height, width) / 2


def _grid(height: int, width: int) -> tuple[Map, Map]:
    """Give y and x of every pixel's middle, (h, w) each."""
    rows, columns = (np.arange(side, dtype=np.float32) + 0.5 - side / 2 for side in (height, width))
    y, x = np.meshgrid(rows / _unit(height, width), columns / _unit(height, width), indexing="ij")
    return y, x


def _to_corners(motion: Numbers, height: int, width: int) -> Numbers:
    """The motion in pixels, counted from the picture's corner as Pillow does: the first's middle is at 0.5, 0.5."""
    middle = np.array([width, height]) / 2
    shift = middle - motion[:, :2] @ middle + motion[:, 2] * _unit(height, width)
    return np.column_stack([motion[:, :2], shift])


def _to_pixels(motion: Numbers, height: int, width: int) -> Numbers:
    """The motion in pixels, the first's middle at 0, 0."""
    numbers = _to_corners(motion, height, width)
    numbers[:, 2] += numbers[:, :2].sum(1) / 2 - 0.5
    return numbers
