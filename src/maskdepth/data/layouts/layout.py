"""Layouts: what the names in a data set mean. A layout is data, one TOML file beside this module.

Patterns say which kind of file a path is and which ids it carries. Where the names carry only a running number, a
mapping says how the ids follow: by mixed-radix arithmetic, or from a labels file. A layout may have several mappings,
the preferred one first, when its makers contradict themselves.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

KINDS = ("background", "composite", "mask", "depth", "background_depth", "foreground", "foreground_mask", "labels")
IDS = ("foreground", "background", "flip", "placement")
# What a name may carry; composite, mask and depth of one sample agree in all of it.
NAME_COLUMNS = (*IDS, "number")
OWN_LAYOUT = "own"

# A digit of the arithmetic that counts rows and is no id.
BLOCK = "block"
_FIRST = {"foreground": 1, "background": 1, "flip": 0, "placement": 1}
# What a name that does not say it means.
_UNSAID = {"foreground": "0", "flip": "0", "placement": "1"}
# Detection needs no more names than this, spread over all archives.
_DETECTION_NAMES = 5000


class Recognised(NamedTuple):
    """What a path says: the kind of the file, and the ids (and running number) in its name."""

    kind: str
    ids: dict[str, str]


@dataclass(frozen=True)
class IdMapping:
    """One way in which the ids of a composite follow.

    Attributes:
        name: How index and user call it.
        order: Digits of the running number, outermost first, as `id:count`; the outermost may have no count. An id
            named twice is itself made of two digits. Empty if the names carry the ids.
        uses_labels: Whether ids come from the labels file first.
    """

    name: str
    order: tuple[str, ...]
    uses_labels: bool


@dataclass(frozen=True)
class Layout:
    """How one data set names its files.

    Attributes:
        name: As in params.yaml.
        definition: The content of its TOML file, from which `layout_from_definition` makes it again.
        patterns: Regular expressions by kind, for the end of a path from a folder boundary on.
        id_mappings: How ids follow, the preferred way first.
    """

    name: str
    definition: dict[str, Any] = field(repr=False)
    patterns: dict[str, tuple[re.Pattern[str], ...]] = field(repr=False)
    id_mappings: tuple[IdMapping, ...]

    @property
    def title(self) -> str:
        """One line for people."""
        return str(self.definition["title"])

    @property
    def mappings(self) -> tuple[str, ...]:
        """Names of the ways in which ids follow, the preferred one first."""
        return tuple(mapping.name for mapping in self.id_mappings)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the labels file; empty if its content is not used."""
        return tuple(self.definition.get("labels", {}).get("columns", ()))

    @property
    def without_depth(self) -> dict[str, str]:
        """Ids of the composites for which the names provide no depth map."""
        return dict(self.definition.get("without_depth", {}))

    def recognise(self, path: str) -> Recognised | None:
        """Tell what a file is by its path below the raw folder; None if no pattern fits, or an id is in foreign digits.

        >>> read_layouts()["sudhakarmlal"].recognise("any/wrapper/bg_jpg/bg_img_7.jpg")
        Recognised(kind='background', ids={'background': '7'})
        """
        for kind, patterns in self.patterns.items():
            for pattern in patterns:
                if match := pattern.fullmatch(path):
                    ids = self._translate(match.groupdict())
                    return Recognised(kind, ids) if path.isascii() or _are_readable(ids.values()) else None
        return None

    def read_labels(self, text: str) -> list[list[str]]:
        """Split a labels file into rows of `label_columns`.

        Raises:
            ValueError: A line has another number of values.
        """
        separator = self.definition["labels"]["separator"]
        rows = [line.split(separator) for line in text.splitlines()]
        for number, row in enumerate(rows, 1):
            if len(row) != len(self.label_columns):
                expected = f"{len(self.label_columns)} ({', '.join(self.label_columns)})"
                raise ValueError(f"line {number} has {len(row)} values separated by {separator!r}, expected {expected}")
        return rows

    def resolve(self, mapping: str, members: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """Find the ids of composites by one of the mappings.

        Args:
            mapping: Its name.
            members: One row per composite, with the texts of `NAME_COLUMNS` and the path `member`.
            labels: The rows of the labels file, columns `label_columns`; empty where the layout has none.

        Returns:
            Texts in the columns `IDS` and `reason`, index as `members`; the reason says why a row has no ids, or is "".
        """
        chosen = next(candidate for candidate in self.id_mappings if candidate.name == mapping)
        ids = members[list(IDS)].copy()
        ids["reason"] = ""
        if chosen.uses_labels:
            self._add_labelled(ids, members["member"], labels)
        if chosen.order:
            _add_arithmetic(ids, members["number"], chosen.order)
        ids["placement"] = _fill(ids["placement"], members["number"])
        for column, value in _UNSAID.items():
            ids[column] = _fill(ids[column], value)
        ids.loc[(ids["background"] == "") & (ids["reason"] == ""), "reason"] = "nothing says which background it shows"
        return ids

    def _translate(self, groups: dict[str, str | None]) -> dict[str, str]:
        values = self.definition.get("values", {})
        said = {name: text for name, text in groups.items() if text is not None}
        return {name: values.get(name, {}).get(text, text) for name, text in said.items()}

    def _add_labelled(self, ids: pd.DataFrame, members: pd.Series, labels: pd.DataFrame) -> None:
        """Fill in what the labels say of each composite, found by its base name."""
        labels = labels.drop_duplicates()
        keys = _base_names(labels["composite"])
        is_ambiguous = keys.duplicated(keep=False)
        rows = pd.Index(keys[~is_ambiguous]).get_indexer(pd.Index(_base_names(members)))
        for column in {"background", "foreground"}.intersection(self.label_columns):
            said = self._ids_of(column, labels.loc[~is_ambiguous, column])
            # One more at the end: row -1 is a composite without a label.
            ids[column] = _fill(ids[column], pd.Series(np.append(said, "")[rows], ids.index))
        ids.loc[rows < 0, "reason"] = "the labels name it not exactly once"

    def _ids_of(self, kind: str, paths: pd.Series) -> npt.NDArray[np.object_]:
        """Read the id out of each path; there are few different ones."""
        codes, different = pd.factorize(paths)
        recognised = [self.recognise(path) for path in different]
        ids = [found.ids.get(kind, "") if found else "" for found in recognised]
        return np.array(ids, object)[codes] if ids else np.array([], object)


def read_definitions() -> dict[str, dict[str, Any]]:
    """Read the TOML file of every layout that comes with the package, by name."""
    folder = files("maskdepth.data.layouts") / "known"
    found = {file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")}
    return {name: tomllib.loads(found[name].read_text(encoding="utf-8")) for name in sorted(found)}


def read_layouts() -> dict[str, Layout]:
    """Read every layout that comes with the package, by name, without what only writing needs."""
    reading = {
        name: {key: value for key, value in definition.items() if key != "write"}
        for name, definition in read_definitions().items()
    }
    return {name: layout_from_definition(name, definition) for name, definition in reading.items()}


def layout_from_definition(name: str, definition: dict[str, Any]) -> Layout:
    """Make a layout of the content of its TOML file."""
    patterns = {kind: tuple(map(_compile, texts)) for kind, texts in definition["patterns"].items()}
    mappings = [
        IdMapping(mapping["name"], tuple(mapping.get("order", ())), mapping.get("labels", False))
        for mapping in definition["mappings"]
    ]
    return Layout(name, definition, patterns, tuple(mappings))


def layout_from_patterns(patterns: Mapping[str, str | list[str]]) -> Layout:
    """Make a layout of a user's own regular expressions, as in `data.layout` of params.yaml.

    Ids are named groups (`foreground`, `background`, `flip`, `placement`, `number`). A composite without flip is plain,
    one without placement is told apart by its number, one without foreground shows foreground 0.

    Raises:
        ValueError: An unknown or missing kind, a bad expression, or groups by which samples cannot be joined.
    """
    texts = {kind: [text] if isinstance(text, str) else list(text) for kind, text in patterns.items()}
    if unknown := texts.keys() - set(KINDS):
        raise ValueError(f"data.layout: unknown kind {', '.join(sorted(unknown))}; the kinds are {', '.join(KINDS)}")
    if missing := {"background", "composite", "mask", "depth"} - texts.keys():
        raise ValueError(f"data.layout: no regular expression for {', '.join(sorted(missing))}")
    groups = {kind: _groups_of(kind, expressions) for kind, expressions in texts.items()}
    for kind in groups.keys() & {"background", "composite", "background_depth"}:
        if "background" not in groups[kind]:
            raise ValueError(f"data.layout: {kind} must name its background, as in (?P<background>[0-9]+)")
    for kind in ("mask", "depth"):
        if groups[kind] != groups["composite"]:
            found, expected = ", ".join(sorted(groups[kind])), ", ".join(sorted(groups["composite"]))
            raise ValueError(
                f"data.layout: {kind} names {found or 'nothing'}, composite names {expected}; join needs both"
            )
    if others := groups.get("background_depth", frozenset({"background"})) - {"background"}:
        raise ValueError(
            f"data.layout: background_depth names {', '.join(sorted(others))}; it is one map for a background and "
            "names that alone, as in (?P<background>[0-9]+)"
        )
    definition = {"title": "regular expressions of params.yaml", "origin": "", "patterns": texts}
    return layout_from_definition(OWN_LAYOUT, definition | {"mappings": [{"name": "explicit"}]})


def choose_layout(setting: str | Mapping[str, str | list[str]], paths: Iterable[str]) -> Layout:
    """Follow `data.layout` of params.yaml: a name, regular expressions, or `auto` to go by the paths.

    Raises:
        ValueError: An unknown name, bad expressions, or paths that fit no layout.
    """
    if not isinstance(setting, str):
        return layout_from_patterns(setting)
    layouts = read_layouts()
    if setting == "auto":
        return detect_layout(paths, layouts)
    if setting not in layouts:
        raise ValueError(f"data.layout: unknown layout {setting!r}; known are auto, {', '.join(layouts)}")
    return layouts[setting]


def detect_layout(paths: Iterable[str], layouts: Mapping[str, Layout]) -> Layout:
    """Choose the layout that recognises most of the paths.

    Raises:
        ValueError: No layout recognises any, or two recognise equally many.
    """
    sample = sample_names(paths)
    counts = count_recognised(sample, layouts)
    best = max(counts.values(), default=0)
    winners = [name for name, count in counts.items() if count == best]
    cure = "name one in data.layout, or give regular expressions there"
    if not best:
        shown = ", ".join(map(repr, sample[:: max(1, len(sample) // 3)][:3]))
        raise ValueError(f"no known layout names files like {shown}; known are {', '.join(layouts)}: {cure}")
    if len(winners) > 1:
        raise ValueError(
            f"the layouts {' and '.join(winners)} fit equally well ({best} of {len(sample)} names); {cure}"
        )
    return layouts[winners[0]]


def sample_names(paths: Iterable[str]) -> list[str]:
    """Choose the paths by which a layout is detected: all, or some thousands that are spread over all.

    >>> len(sample_names(map(str, range(100_000))))
    6250
    """
    chosen: list[str] = []
    step = 1
    for number, path in enumerate(paths):
        if number % step == 0:
            chosen.append(path)
        if len(chosen) == 2 * _DETECTION_NAMES:  # every second one is enough
            chosen, step = chosen[::2], 2 * step
    return chosen


def count_recognised(paths: Iterable[str], layouts: Mapping[str, Layout]) -> dict[str, int]:
    """Count how many of the paths each layout recognises."""
    every = list(paths)
    return {name: sum(layout.recognise(path) is not None for path in every) for name, layout in layouts.items()}


def _compile(text: str) -> re.Pattern[str]:
    # Wrapper folders come and go between download and data/raw, so a pattern starts at any folder.
    return re.compile(rf"(?:.*/)?(?:{text.removeprefix('^')})")


def _are_readable(ids: Iterable[str]) -> bool:
    """Tell whether numbers among ids have ASCII digits: to an expression those of all scripts are digits."""
    return not any(text.isdecimal() and not text.isascii() for text in ids)


def _groups_of(kind: str, expressions: list[str]) -> frozenset[str]:
    """Name the groups that every expression of a kind has."""
    found = set()
    for text in expressions:
        try:
            groups = frozenset(_compile(text).groupindex)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"data.layout: {kind}: {text!r} is no regular expression: {error}") from error
        if unknown := groups - set(NAME_COLUMNS):
            known = ", ".join(NAME_COLUMNS)
            raise ValueError(f"data.layout: {kind}: unknown group {', '.join(sorted(unknown))}; the groups are {known}")
        found.add(groups)
    if len(found) != 1:
        raise ValueError(f"data.layout: the expressions of {kind} name different groups")
    return found.pop()


def _fill(texts: pd.Series, values: pd.Series | str) -> pd.Series:
    """Replace the empty ones."""
    is_empty = texts == ""
    return texts.mask(is_empty, values) if is_empty.any() else texts


def _as_texts(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """Write numbers as text, each different one once: there are few among many rows."""
    codes, different = pd.factorize(numbers)
    return np.array([str(number) for number in different], object)[codes]


def _base_names(paths: pd.Series) -> pd.Series:
    return pd.Series([path.rpartition("/")[2] for path in paths.tolist()], index=paths.index, dtype=object)


def _add_arithmetic(ids: pd.DataFrame, numbers: pd.Series, order: tuple[str, ...]) -> None:
    """Fill in the ids that follow from the running numbers, and note those that contradict the names."""
    values = np.asarray(numbers.astype("int64"), np.int64)
    digits, is_inside = _split_number(values, order)
    for column, derived in digits.items():
        if (ids[column] != "").any():
            said = pd.to_numeric(ids[column], errors="coerce").to_numpy()
            contradicts = ~np.isnan(said) & (said != derived)
            ids.loc[contradicts, "reason"] = f"its running number belongs to another {column} than its name says"
        ids[column] = _as_texts(derived)
    ids.loc[~is_inside, "reason"] = "its running number is outside the layout's range"


def _split_number(
    numbers: npt.NDArray[np.int64], order: tuple[str, ...]
) -> tuple[dict[str, npt.NDArray[np.int64]], npt.NDArray[np.bool_]]:
    """Take running numbers, from 1, apart into ids: mixed-radix digits, the innermost last in `order`.

    >>> _split_number(np.array([1, 42]), ("background:100", "placement:20", "flip:2"))
    ({'flip': array([0, 1]), 'placement': array([1, 1]), 'background': array([1, 2])}, array([ True,  True]))
    """
    rest = numbers - 1
    is_inside = rest >= 0
    ids: dict[str, npt.NDArray[np.int64]] = {}
    scales: dict[str, int] = {}
    for entry in reversed(order):
        name, _, count = entry.partition(":")
        rest, digit = np.divmod(rest, int(count)) if count else (np.zeros_like(rest), rest)
        ids[name] = ids.get(name, np.full_like(rest, _FIRST.get(name, 0))) + digit * scales.get(name, 1)
        scales[name] = scales.get(name, 1) * int(count or 1)
    ids.pop(BLOCK, None)
    return ids, is_inside & (rest == 0)
