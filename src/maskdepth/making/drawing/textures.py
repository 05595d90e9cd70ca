"""Procedural textures of the drawn scenes: plaster, wood, bricks, tiles, asphalt, grass, windows, books.

A texture is a function of two surface coordinates `u, v` [m], both (N,), to an albedo (N, 3) in [0, 1]. What is random
about one (colours, sizes, offsets) is drawn once, when it is built; asked twice for the same point it answers the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Texture = Callable[[FloatArray, FloatArray], FloatArray]

WOOD = np.array([0.62, 0.42, 0.26], dtype=np.float32)
GREY = np.array([0.55, 0.55, 0.53], dtype=np.float32)

_TILE = 256  # [px] side of the noise tiles: a power of two, so that they repeat without a seam


@cache
def _white_noise() -> FloatArray:
    """(256, 256) independent values in [0, 1]; the same in every run, textures differ by their offsets into it."""
    return np.random.default_rng(1).random((_TILE, _TILE), dtype=np.float32)


@cache
def _cloud_noise() -> FloatArray:
    """(256, 256) fractal noise in [0, 1], mean about 1/2, that repeats without a seam."""
    # A power spectrum falling with the square of the frequency is what clouds, stone and plaster look like.
    frequency = np.fft.fftfreq(_TILE)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1.0
    waves = np.fft.ifft2(np.fft.fft2(_white_noise() - 0.5) / radius**1.2).real
    return np.asarray(np.clip(0.5 + 0.2 * waves / waves.std(), 0, 1), dtype=np.float32)


def cloud_noise(u: FloatArray, v: FloatArray) -> FloatArray:
    """Sample the fractal noise, bilinearly, at coordinates in tiles (1.0 is one whole tile); [0, 1]."""
    tile = _cloud_noise()
    x, y = u * _TILE, v * _TILE
    left, low = np.floor(x), np.floor(y)
    right_share, high_share = x - left, y - low
    column, row = left.astype(np.int32) % _TILE, low.astype(np.int32) % _TILE
    next_column, next_row = (column + 1) % _TILE, (row + 1) % _TILE
    bottom = tile[row, column] * (1 - right_share) + tile[row, next_column] * right_share
    top = tile[next_row, column] * (1 - right_share) + tile[next_row, next_column] * right_share
    return np.asarray(bottom * (1 - high_share) + top * high_share)


def _cell_noise(column: FloatArray, row: FloatArray, offset: int) -> FloatArray:
    """One value in [0, 1] for each whole cell: the shade of this brick, the light in that window."""
    x, y = column.astype(np.int32), row.astype(np.int32)
    return np.asarray(_white_noise()[(7 * y + 3 * x + offset) % _TILE, (x + 11 * y + offset // _TILE) % _TILE])


def random_colour(rng: np.random.Generator, brightness: tuple[float, float], saturation: float = 0.5) -> FloatArray:
    """A colour (3,) whose largest channel lies within `brightness`; saturation 0 is grey."""
    hue = rng.random(3)
    hue = (hue - hue.min()) / (np.ptp(hue) + 1e-6)
    return np.asarray((1 - rng.uniform(0, saturation) * (1 - hue)) * rng.uniform(*brightness), dtype=np.float32)


def _tint(colour: FloatArray, shade: FloatArray) -> FloatArray:
    """One colour (3,) at each of the shades (N,): (N, 3), kept within [0, 1]."""
    return np.clip(colour * shade[:, None], 0, 1)


def _mix(first: FloatArray, second: FloatArray, share: FloatArray) -> FloatArray:
    """`first` where `share` (N,) is 0, `second` where it is 1."""
    return np.asarray(first + (second - first) * share[:, None])


def plain(rng: np.random.Generator, colour: FloatArray, contrast: float = 0.25, period: float = 2.0) -> Texture:
    """Plaster, paint, stone: one colour with cloudy differences, one tile of noise every `period` [m]."""
    u0, v0 = rng.random(2)

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        return _tint(colour, 1 + contrast * (cloud_noise(u / period + u0, v / period + v0) - 0.5))

    return texture


def rough(rng: np.random.Generator, colour: FloatArray, contrast: float, period: float) -> Texture:
    """Carpet, grass, gravel, foliage: coarse clouds and fine grain together."""
    coarse, fine = plain(rng, colour, contrast, 8 * period), plain(rng, np.ones(3, np.float32), contrast, period)
    return lambda u, v: np.clip(coarse(u, v) * fine(u, v), 0, 1)


def planks(rng: np.random.Generator, colour: FloatArray, width: float) -> Texture:
    """Wooden boards of `width` [m] along v, each with its own shade, grain and a dark seam."""
    offset, length = int(rng.integers(_TILE**2)), width * rng.uniform(6, 12)
    seam = rng.uniform(0.01, 0.04)

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        board = np.floor(u / width)
        along = v / length + 0.37 * board
        across = u / width - board
        shade = 0.85 + 0.3 * _cell_noise(board, np.floor(along), offset)
        grain = 0.85 + 0.3 * cloud_noise(u / width * 0.4 + 0.13 * board, v * 0.05 / width)
        is_seam = (across < seam) | (along - np.floor(along) < 0.004)
        return _tint(colour, shade * grain * np.where(is_seam, 0.55, 1.0))

    return texture


def courses(rng: np.random.Generator, colour: FloatArray, joint: FloatArray, size: tuple[float, float]) -> Texture:
    """Bricks or paving stones of `size` width, height [m], every other row shifted by half a stone."""
    offset, (width, height) = int(rng.integers(_TILE**2)), size

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        row = np.floor(v / height)
        across = u / width + 0.5 * (row % 2)
        stone = np.floor(across)
        shade = 0.75 + 0.45 * _cell_noise(stone, row, offset)
        is_joint = (across - stone < 0.06) | (v / height - row < 0.12)
        return np.where(is_joint[:, None], joint, _tint(colour, shade))

    return texture


def tiles(rng: np.random.Generator, colours: tuple[FloatArray, FloatArray], size: float) -> Texture:
    """Square tiles of `size` [m], the two colours in turn, with grey joints."""
    offset = int(rng.integers(_TILE**2))

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        column, row = np.floor(u / size), np.floor(v / size)
        shade = 0.92 + 0.16 * _cell_noise(column, row, offset)
        tile = _mix(*colours, (column + row) % 2) * shade[:, None]
        is_joint = (u / size - column < 0.03) | (v / size - row < 0.03)
        return np.where(is_joint[:, None], 0.45, np.clip(tile, 0, 1))

    return texture


def stripes(rng: np.random.Generator, colours: tuple[FloatArray, FloatArray], width: float) -> Texture:
    """Upright stripes of wallpaper or the folds of a curtain, one pair every `width` [m]."""
    phase = rng.random()
    return lambda u, v: _mix(*colours, 0.5 + 0.5 * np.sin(2 * np.pi * (u / width + phase)))


def road(rng: np.random.Generator, lane: float) -> Texture:
    """Asphalt with a broken line in the middle (u = 0) and lines at both edges (u = +-lane [m])."""
    asphalt = rough(rng, random_colour(rng, (0.28, 0.48), 0.1), 0.5, 0.5)

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        is_line = (np.abs(u) < 0.08) & (v % 6 < 3) | (np.abs(np.abs(u) - lane) < 0.07)
        return np.where(is_line[:, None], 0.85, asphalt(u, v))

    return texture


def windows(rng: np.random.Generator, wall: Texture, spacing: tuple[float, float]) -> Texture:
    """A wall with a window in each cell of `spacing` width, height [m]; panes differ as reflections do."""
    offset, glass = int(rng.integers(_TILE**2)), random_colour(rng, (0.35, 0.6), 0.4)
    frame = random_colour(rng, (0.5, 0.95), 0.2)
    share = rng.uniform(0.2, 0.32, size=2)  # half width and half height of a window, in cells

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        column, row = np.floor(u / spacing[0]), np.floor(v / spacing[1])
        x, y = np.abs(u / spacing[0] - column - 0.5), np.abs(v / spacing[1] - row - 0.55)
        pane = _tint(glass, 0.5 + _cell_noise(column, row, offset))
        is_window = (x < share[0]) & (y < share[1])
        is_frame = is_window & ((x > share[0] - 0.05) | (y > share[1] - 0.04) | (x < 0.02))
        return np.where(is_frame[:, None], frame, np.where(is_window[:, None], pane, wall(u, v)))

    return texture


def books(rng: np.random.Generator, wood: FloatArray, shelf: float) -> Texture:
    """Rows of coloured spines on boards that are `shelf` [m] apart."""
    offset, thickness = int(rng.integers(_TILE**2)), rng.uniform(0.03, 0.06)

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        row, spine = np.floor(v / shelf), np.floor(u / thickness)
        above = v / shelf - row
        spines = np.stack([_cell_noise(spine, row, offset + 31 * channel) for channel in range(3)], axis=1)
        height = 0.6 + 0.35 * _cell_noise(spine, row, offset + 101)
        book = np.where((above > height)[:, None], wood * 0.25, 0.15 + 0.7 * spines)
        return np.where((above < 0.1)[:, None], wood, book)

    return texture


def print_on(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A printed face of `width` by `height` [m], as of packets and posters: coloured fields, a disc, lines of text."""
    fields = [random_colour(rng, (0.3, 0.95), 0.9) for _ in range(4)]
    split, radius = rng.uniform(0.25, 0.7), rng.uniform(0.1, 0.3)
    centre_x, centre_y = rng.uniform(0.3, 0.7, size=2)

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        x, y = u / width, v / height
        colour = _mix(fields[0], fields[1], (y > split).astype(np.float32))
        is_disc = np.hypot((x - centre_x) * width, (y - centre_y) * height) < radius * min(width, height)
        is_text = (y < 0.2) & (y > 0.06) & (np.abs(x - 0.5) < 0.35) & ((y * 30) % 2 < 1)
        colour = np.where(is_disc[:, None], fields[2], colour)
        return np.where(is_text[:, None], fields[3], colour)

    return texture


def door(rng: np.random.Generator, colour: FloatArray, width: float, height: float) -> Texture:
    """A panelled front of `width` by `height` [m]: door, wardrobe, drawers, with a dark outline and handle."""
    panels = int(rng.integers(1, 4))

    def texture(u: FloatArray, v: FloatArray) -> FloatArray:
        x, y = np.abs(u / width - 0.5), np.abs((v / height * panels) % 1 - 0.5)
        is_groove = (np.maximum(x, y) > 0.38) & (np.maximum(x, y) < 0.42)
        is_edge = (x > 0.47) | (y > 0.485)
        is_handle = (np.abs(u / width - 0.86) < 0.04) & (np.abs(v / height - 0.47) < 0.02)
        shade = 1 - 0.25 * is_groove - 0.45 * is_edge - 0.7 * is_handle
        return _tint(colour, shade.astype(np.float32))

    return texture


def varied_colour(rng: np.random.Generator, colour: FloatArray, spread: float = 0.25) -> FloatArray:
    """A colour near another."""
    return np.asarray(np.clip(colour * rng.uniform(1 - spread, 1 + spread, 3), 0, 1), dtype=np.float32)


def wood(rng: np.random.Generator, width: float) -> Texture:
    """Boards of some wood, light or dark, `width` [m] across."""
    return planks(rng, varied_colour(rng, WOOD) * rng.uniform(0.5, 1.4), width)


def pick_texture(rng: np.random.Generator, makers: list[Callable[[], Texture]]) -> Texture:
    """Build one of several textures."""
    return makers[int(rng.integers(len(makers)))]()
