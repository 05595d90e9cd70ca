"""Which two pictures make a pair, however they were given: files, folders, a table, or a data set in archives.

Libraries that take long to load are for tables of names alone: what is wrong with a pair of files is said at once.
"""

import csv
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from maskdepth.data.files import (
    PICTURE_SUFFIXES,
    File,
    find_files,
    finder_in,
    is_picture_name,
    list_archive,
)
from maskdepth.process.console import printable
from maskdepth.serving.files import FAILED, Outcome, Pair, slug

if TYPE_CHECKING:
    from maskdepth.data.layouts.layout import Layout

COLUMNS = ("background", "composite")

_TABLE, _ZIP = ".csv", ".zip"


class Paired(NamedTuple):
    """What was found: the pairs, and a failure for every picture that is left over."""

    pairs: list[Pair]
    left_over: list[Outcome]


def find_pairs(background: Path, composite: Path | None) -> Paired:
    """Pair pictures without and with an object.

    Args:
        background: A picture without the object, or a folder of such. Without a composite: a CSV table with the columns
            `COLUMNS`, whose paths are relative to its own folder, or a data set in a known layout, as a folder or a
            zip archive.
        composite: A picture with the object, or a folder of such. Two folders are paired by file name up to the suffix
            or by the background that a name of a known layout names; one background goes with a whole folder.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: There is no pair, two pictures have one name, a table has other columns, or a data set is of no
            known layout, has no composites, or has a damaged archive.
    """
    if composite is None:
        return _find_alone(background)
    for path in (background, composite):
        if not path.is_file() and not path.is_dir():
            raise FileNotFoundError(f"{path} is missing; expected a JPEG or PNG picture, or a folder of such")
    if composite.is_dir():
        composites = _list_pictures(composite)
        backgrounds = _list_pictures(background) if background.is_dir() else dict.fromkeys(composites, background)
        if not composites.keys() & backgrounds.keys():
            backgrounds = _pair_by_name(backgrounds, composites) or backgrounds
    elif background.is_dir():
        raise ValueError(
            f"{background} is a folder but {composite} is one picture; name the background of that picture"
        )
    else:
        composites, backgrounds = {_stem(composite): composite}, {_stem(composite): background}
    pairs = [Pair(slug(stem), backgrounds[stem], composites[stem]) for stem in composites if stem in backgrounds]
    if not pairs:
        raise ValueError(f"no file name of {composite} is also in {background}; a pair has one name, up to the suffix")
    left_over = [(stem, f"no background of this name in {background}") for stem in composites.keys() - backgrounds]
    left_over += [(stem, f"no composite of this name in {composite}") for stem in backgrounds.keys() - composites]
    return Paired(pairs, [_fail(slug(stem), reason) for stem, reason in left_over])


def add_background_depths(pairs: Sequence[Pair], depths: Path) -> list[Pair]:
    """Give the pairs the depth maps of their backgrounds.

    Args:
        pairs: As `find_pairs` found them.
        depths: The map of the one background, or a folder of maps that are named as the backgrounds are, up to the
            suffix, or as a known layout names them.

    Returns:
        The pairs, some without a map where the folder has none.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is one map, and the backgrounds are several; or no map is that of a background.
    """
    backgrounds = {_stem(Path(str(pair.background))): pair.background for pair in pairs}
    if depths.is_file():
        if len(backgrounds) > 1:
            raise ValueError(f"{depths} is one map, of {len(backgrounds):,} backgrounds; name a folder of such")
        return [pair._replace(background_depth=depths) for pair in pairs]
    if not depths.is_dir():
        raise FileNotFoundError(f"{depths} is missing; expected a depth map, or a folder of such")
    maps = _list_pictures(depths)
    if not maps.keys() & backgrounds.keys():
        places = {stem: Path(str(file)) for stem, file in backgrounds.items()}
        maps = _pair_by_name(maps, places, ("background_depth", "background"))
    found = [pair._replace(background_depth=maps.get(_stem(Path(str(pair.background))))) for pair in pairs]
    if not any(pair.background_depth for pair in found):
        raise ValueError(f"no file name of {depths} is that of a background, such as {pairs[0].background}")
    return found


def _find_alone(source: Path) -> Paired:
    """Find pairs in a table or in a data set."""
    if source.is_dir():
        return _pair_data_set(source, find_files(source))
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is missing; expected two pictures or folders, a CSV table of {','.join(COLUMNS)}, or a data set"
        )
    if source.suffix.lower() == _TABLE:
        return _read_pairs(source)
    if source.suffix.lower() == _ZIP:
        return _pair_data_set(source, list_archive(source.parent, source.name))
    raise ValueError(f"{source} is one picture; name the one with the object behind it")


def _fail(name: str, reason: str) -> Outcome:
    return Outcome(name, FAILED, None, printable(reason))


def _list_pictures(folder: Path) -> dict[str, Path]:
    """List the pictures right in a folder, by file name without suffix."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_picture_name(path.name) and not path.name.startswith("."):
            other = pictures.setdefault(_stem(path), path)
            if other is not path:
                raise ValueError(f"{other} and {path} have the same name up to the suffix; rename one of them")
    if not pictures:
        raise ValueError(
            f"{folder} holds no pictures; expected files that end in {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return pictures


def _stem(path: Path) -> str:
    # Systems write an accented letter as one character or as two.
    return unicodedata.normalize("NFC", path.stem)


def _pair_by_name(
    backgrounds: Mapping[str, Path],
    composites: Mapping[str, Path],
    kinds: tuple[str, str] = ("background", "composite"),
) -> dict[str, Path]:
    """Find the background that the name of each composite names, where a known layout reads both.

    Layouts whose composites carry a running number alone are left out: which background that means, pixels decide.

    Returns:
        Background by the file name of its composite, those that are left over by their own; empty where none fits.
    """
    from maskdepth.data.layouts.layout import read_layouts

    for layout in read_layouts().values():
        shown = {number: stem for stem, number in _read_backgrounds(layout, backgrounds, kinds[0]).items()}
        wanted = _read_backgrounds(layout, composites, kinds[1])
        pairs = {stem: shown[number] for stem, number in wanted.items() if number in shown}
        if pairs:
            used = set(pairs.values())
            unused = {stem: path for stem, path in backgrounds.items() if stem not in used}
            return unused | {stem: backgrounds[partner] for stem, partner in pairs.items()}
    return {}


def _read_backgrounds(layout: "Layout", pictures: Mapping[str, Path], kind: str) -> dict[str, str]:
    """Read which background each picture of a kind names, by file name."""
    found = {stem: layout.recognise(path.absolute().as_posix()) for stem, path in pictures.items()}
    named = {stem: read.ids.get("background", "") for stem, read in found.items() if read and read.kind == kind}
    return {stem: number.lstrip("0") or "0" for stem, number in named.items() if number}


def _pair_data_set(source: Path, files: Mapping[str, File]) -> Paired:
    from maskdepth.serving.data_set import pair_data_set

    found, left_over = pair_data_set(source, files)
    names = _name_results([path for path, _ in found])
    pairs = [Pair(name, background, files[path]) for name, (path, background) in zip(names, found, strict=True)]
    return Paired(pairs, [_fail(_name_results([path])[0], reason) for path, reason in left_over])


def _read_pairs(table: Path) -> Paired:
    """Read a table; a row whose files are missing fails alone."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is no CSV table ({error}); save it as one, in UTF-8") from error
    if missing := [name for name in COLUMNS if name not in header]:
        found = printable(",".join(header)) or "no columns"
        raise ValueError(
            f"{table} lacks the column {' and '.join(missing)}; expected {','.join(COLUMNS)}, found {found}"
        )
    find_file = finder_in(table.parent)
    names = _name_results([row["composite"] or "" for _, row in rows])
    pairs, failed = [], []
    for name, (line, row) in zip(names, rows, strict=True):
        background, composite = (find_file(row[column]) if row[column] else None for column in COLUMNS)
        if background and composite:
            pairs.append(Pair(name, background, composite))
        else:
            absent = row["composite"] if background else row["background"]
            reason = f"{absent or 'a name'} is missing; paths begin in {table.parent}"
            failed.append(_fail(name, f"{table} line {line}: {reason}"))
    if not pairs:
        raise ValueError(failed[0].note if failed else f"{table} has no rows; write one pair of pictures a line")
    return Paired(pairs, failed)


def _name_results(paths: Sequence[str]) -> list[str]:
    """Name results as their composites; by the whole path where two files in different folders are called alike.

    >>> _name_results(["plain/7.jpg", "flip/7.jpg", "flip/8.jpg"])
    ['plain-7', 'flip-7', '8']
    """
    stems = [_stem(Path(path)) for path in paths]
    counts = Counter(stem.casefold() for stem in stems)
    folders = [PurePath(path).parent.parts for path in paths]
    whole = [
        "-".join([*(part for part in parts if part.strip("./\\")), stem])
        for parts, stem in zip(folders, stems, strict=True)
    ]
    return [slug(stem if counts[stem.casefold()] == 1 else long) for stem, long in zip(stems, whole, strict=True)]
