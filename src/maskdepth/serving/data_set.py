"""The pairs of a data set in a known layout: each composite with the background that it shows, masks and depth unasked.

Where a layout can be read in several ways, the pixels decide: labels have been wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maskdepth.data.files import File, open_file
from maskdepth.data.layouts.layout import NAME_COLUMNS, Layout, detect_layout, read_layouts
from maskdepth.data.pictures.decoding import COLOUR_KINDS, decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.tables import spell_numbers

# Composites by which the true one of several readings is known, and their size [px].
_PROBES, _PROBE_SIDE = 24, 16
_FARTHEST = 255.0  # grey levels

# A composite by its path below the data set, and what is found or said of it.
Found = list[tuple[str, File]]
LeftOver = list[tuple[str, str]]


def pair_data_set(source: Path, files: Mapping[str, File]) -> tuple[Found, LeftOver]:
    """Find the background that each composite of a data set shows.

    Args:
        source: The data set, for messages.
        files: All that is in it, by the paths below it.

    Returns:
        Composites with their backgrounds, those of one background in a row; and why others have none.

    Raises:
        ValueError: It is of no known layout, or has no composites, no backgrounds, or labels that are none.
    """
    layout = _find_layout(source, files)
    read = [(path, found) for path in files if (found := layout.recognise(path))]
    names = pd.DataFrame(
        [(found.kind, path, *(found.ids.get(column, "") for column in NAME_COLUMNS)) for path, found in read],
        columns=["kind", "member", *NAME_COLUMNS],
        dtype=str,
    )
    for kind in COLOUR_KINDS:
        if not names["kind"].eq(kind).any():
            raise ValueError(f"{source} has no {kind}s in the names of layout {layout.name} ({layout.title}); add them")
    composites = names[names["kind"].eq("composite")].reset_index(drop=True)
    labels = _read_labels(layout, [files[path] for path in names["member"][names["kind"].eq("labels")]])
    shown = _index_backgrounds(names[names["kind"].eq("background")], files)
    readings = [_read_partners(layout, mapping, composites, labels, shown) for mapping in layout.mappings]
    told = _choose_reading([files[path] for path in composites["member"]], readings)
    is_paired = told["partner"].notna()
    if not is_paired.any():
        raise ValueError(f"{source}: no composite has its background; the first: {told['member'][0]}: {told['why'][0]}")
    pairs = told[is_paired].sort_values(["background", "member"])
    left_over = told[~is_paired]
    return (
        list(zip(pairs["member"], pairs["partner"], strict=True)),
        list(zip(left_over["member"], left_over["why"], strict=True)),
    )


def _find_layout(source: Path, files: Mapping[str, File]) -> Layout:
    layouts = read_layouts()
    try:
        return detect_layout(files, layouts)
    except ValueError as error:
        raise ValueError(
            f"{source} is no data set in one of the layouts {', '.join(layouts)}; name two folders, backgrounds and "
            "composites, or a CSV table of both"
        ) from error


def _read_labels(layout: Layout, files: Iterable[File]) -> pd.DataFrame:
    """Read the labels files, if the layout uses any."""
    rows: list[list[str]] = []
    for file in files if layout.label_columns else ():
        try:
            with open_file(file) as content:
                rows += layout.read_labels(content.read().decode())
        except ValueError as error:
            raise ValueError(f"{file}: not the labels of layout {layout.name}: {error}; mend the file") from error
    return pd.DataFrame(rows, columns=list(layout.label_columns), dtype=str)


def _index_backgrounds(names: pd.DataFrame, files: Mapping[str, File]) -> dict[str, File]:
    """List the backgrounds by their ids, the first of those that several archives hold."""
    ids = spell_numbers(names["background"]).astype(str)
    return {name: files[path] for name, path in reversed(list(zip(ids, names["member"], strict=True)))}


def _read_partners(
    layout: Layout, mapping: str, composites: pd.DataFrame, labels: pd.DataFrame, shown: Mapping[str, File]
) -> pd.DataFrame:
    """Read names in one way: composites as `member`, `background`, its file as `partner`, or `why` there is none."""
    ids = layout.resolve(mapping, composites, labels)
    background = spell_numbers(ids["background"]).astype(str)
    partner = background.map(shown.get).where(ids["reason"].eq(""), None)
    why = ids["reason"].where(ids["reason"].ne(""), "there is no background " + background + "; add it")
    return pd.DataFrame({"member": composites["member"], "background": background, "partner": partner, "why": why})


def _choose_reading(composites: Sequence[File], readings: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Choose the reading whose backgrounds look most like the composites."""
    if len(readings) == 1:
        return readings[0]
    probes = range(0, len(composites), max(1, len(composites) // _PROBES))
    apart = [
        sum(_measure_distance(reading["partner"][probe], composites[probe]) for probe in probes) for reading in readings
    ]
    return readings[int(np.argmin(apart))]


def _measure_distance(background: File | None, composite: File) -> float:
    """Say how far apart two pictures are in their middle pixel [grey levels]: an object hides less than half."""
    if background is None:
        return _FARTHEST
    pixels = []
    for file in (background, composite):
        try:
            with open_file(file) as content:
                pixels.append(decode_picture(content.read(), "composite", _PROBE_SIDE, "dark").pixels.astype(float))
        except (RefusedError, OSError):  # it is said when the picture is to be predicted
            return _FARTHEST
    return float(np.median(np.abs(pixels[0] - pixels[1]).max(2)))
