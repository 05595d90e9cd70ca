"""Proves that every known layout reads its own names, and that running numbers become the ids their makers meant."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy import write_toy_archive

from maskdepth.data.archives.archive import find_archives
from maskdepth.data.layouts.layout import (
    IDS,
    KINDS,
    NAME_COLUMNS,
    Layout,
    Recognised,
    choose_layout,
    detect_layout,
    layout_from_definition,
    layout_from_patterns,
    read_layouts,
    sample_names,
)

LAYOUTS = read_layouts()
OWN = {
    "background": r"scenes/(?P<background>\w+)\.png",
    "composite": r"shots/(?P<background>\w+)-(?P<number>\d+)\.png",
    "mask": [r"masks/(?P<background>\w+)-(?P<number>\d+)\.png"],
    "depth": r"^depths/(?P<background>\w+)-(?P<number>\d+)\.png",
}


def members_of(layout: Layout, paths: list[str]) -> pd.DataFrame:
    """Make the table of composites that index resolves."""
    found = [layout.recognise(path) for path in paths]
    rows = [{"member": path, **one.ids} for path, one in zip(paths, found, strict=True) if one]
    return pd.DataFrame(rows, columns=["member", *NAME_COLUMNS], dtype=str).fillna("")


def resolve(layout: Layout, mapping: str, paths: list[str], labels: list[list[str]] | None = None) -> list[list[str]]:
    """Give foreground, background, flip, placement and reason of each composite."""
    table = pd.DataFrame(labels or [], columns=list(layout.label_columns), dtype=str)
    return layout.resolve(mapping, members_of(layout, paths), table)[[*IDS, "reason"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("layout", "path", "kind", "ids"),
    [
        ("sudhakarmlal", "b1/bg_jpg/bg_img_96.jpg", "background", {"background": "96"}),
        ("sudhakarmlal", "fg_jpg/fg_img_7.jpg", "foreground", {"foreground": "7"}),
        ("sudhakarmlal", "mask_jpg/mask_img_7.jpg", "foreground_mask", {"foreground": "7"}),
        ("sajnanshetty", "fg_bg/bg_002/4001.jpg", "composite", {"background": "002", "number": "4001"}),
        ("sajnanshetty", "fg_bg_mask_002/bg_002/4001.jpg", "mask", {"background": "002", "number": "4001"}),
        ("sajnanshetty", "dense_depth/fb_bg_depth2/bg_002/9.jpg", "depth", {"background": "002", "number": "9"}),
        ("sumankanukollu", "bg_fg_1/96_bg_21_fg.jpg", "composite", {"flip": "0", "background": "96", "number": "21"}),
        ("sumankanukollu", "bg_fgFlip_mask_1/9_bg_2_fg.jpg", "mask", {"flip": "1", "background": "9", "number": "2"}),
        ("sumankanukollu", "depthMap/9_bg_2_fg.jpg", "depth", {"flip": "0", "background": "9", "number": "2"}),
        ("deepjyotisaha85", "fg_bg_mask/fg_bg_mask_638.jpg", "mask", {"number": "638"}),
        ("deepjyotisaha85", "mask/fg_17.jpg", "foreground_mask", {"foreground": "17"}),
        ("deepjyotisaha85", "session15A/depthmap/depth_638.jpg", "depth", {"number": "638"}),
        ("mshilpaa", "data_part5/data_5/Depth/depth400000.jpg", "depth", {"number": "400000"}),
        ("mshilpaa", "wrapper/labels.txt", "labels", {}),
        ("sudhakarmlal", "b1/depth_bg_jpg/depth_bg_img_96.jpg", "background_depth", {"background": "96"}),
        ("sajnanshetty", "background_depth/7.png", "background_depth", {"background": "7"}),
        ("sumankanukollu", "bg_depth/7_bg_depth.png", "background_depth", {"background": "7"}),
        ("deepjyotisaha85", "bg_depthmap/depth_bg_7.png", "background_depth", {"background": "7"}),
        ("mshilpaa", "Background-Depth/bg-depth7.png", "background_depth", {"background": "7"}),
    ],
)
def test_a_name_tells_its_kind_and_ids(layout: str, path: str, kind: str, ids: dict[str, str]) -> None:
    assert LAYOUTS[layout].recognise(path) == (kind, ids)


@pytest.mark.parametrize("path", ["xbg_jpg/bg_img_1.jpg", "bg_jpg/bg_img_1 (1).jpg", "bg_jpg/bg_img_1.jpg.jpg"])
def test_a_name_counts_from_a_folder_boundary_to_its_end(path: str) -> None:
    assert LAYOUTS["sudhakarmlal"].recognise(path) is None


@pytest.mark.parametrize(
    ("layout", "mapping", "path", "ids"),
    [
        # The pictures that the makers committed, checked against the backgrounds they show.
        ("deepjyotisaha85", "arithmetic", "image/fg_bg_638.jpg", ["16", "1", "1", "19", ""]),
        ("deepjyotisaha85", "arithmetic", "image/fg_bg_3173.jpg", ["80", "1", "0", "7", ""]),
        ("deepjyotisaha85", "arithmetic", "image/fg_bg_26682.jpg", ["68", "7", "1", "1", ""]),
        ("deepjyotisaha85", "arithmetic", "image/fg_bg_37898.jpg", ["48", "10", "1", "9", ""]),
        ("deepjyotisaha85", "arithmetic", "image/fg_bg_39553.jpg", ["89", "10", "0", "17", ""]),
        ("sajnanshetty", "arithmetic", "fg_bg/bg_002/4061.jpg", ["2", "2", "1", "1", ""]),
        ("sumankanukollu", "arithmetic", "bg_fg_1/96_bg_41_fg.jpg", ["3", "96", "0", "1", ""]),
        ("mshilpaa", "generated", "data_2/Fg-Bg/fg-bg84041.jpg", ["22", "2", "0", "1", ""]),
        ("mshilpaa", "labelled", "data_2/Fg-Bg/fg-bg80841.jpg", ["22", "2", "0", "1", ""]),
        ("sudhakarmlal", "explicit", "fg_bg_jpg/fg_bg_3_95_1_14.jpg", ["3", "95", "1", "14", ""]),
    ],
)
def test_ids_follow_from_the_number(layout: str, mapping: str, path: str, ids: list[str]) -> None:
    assert resolve(LAYOUTS[layout], mapping, [path]) == [ids]


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        ("deepjyotisaha85", "image/fg_bg_0.jpg"),
        ("deepjyotisaha85", "image/fg_bg_400001.jpg"),
        ("sumankanukollu", "bg_fg_1/96_bg_2001_fg.jpg"),
    ],
)
def test_a_number_outside_the_arithmetic_has_a_reason(layout: str, path: str) -> None:
    assert resolve(LAYOUTS[layout], "arithmetic", [path])[0][-1] == "its running number is outside the layout's range"


def test_a_folder_that_contradicts_the_number_has_a_reason() -> None:
    (row,) = resolve(LAYOUTS["sajnanshetty"], "arithmetic", ["fg_bg/bg_003/4001.jpg"])
    assert row[-1] == "its running number belongs to another background than its name says"


@pytest.mark.parametrize(
    ("layout", "mapping"),
    [
        ("sudhakarmlal", "explicit"),
        ("sajnanshetty", "arithmetic"),
        ("sumankanukollu", "arithmetic"),
        ("deepjyotisaha85", "arithmetic"),
        ("mshilpaa", "generated"),
        ("mshilpaa", "labels"),
    ],
)
def test_the_ids_drawn_are_the_ids_read(layout: str, mapping: str, tmp_path: Path) -> None:
    flips = (0,) if layout == "sumankanukollu" else (0, 1)
    world = write_toy_archive(tmp_path, layout, "a.zip", (1, 7, 100), (1, 20, 99), flips, placements=(1, 20))
    archives = find_archives(tmp_path)
    paths = [archive.path_of(member) for archive in archives for member in archive.members()]
    assert detect_layout(paths, LAYOUTS) is LAYOUTS[layout]
    recognised = {path: LAYOUTS[layout].recognise(path) for path in paths}
    assert None not in recognised.values()
    composites = [path for path, found in recognised.items() if found and found.kind == "composite"]
    text = (tmp_path / "labels.txt").read_text() if layout == "mshilpaa" else ""
    rows = resolve(LAYOUTS[layout], mapping, composites, LAYOUTS[layout].read_labels(text) if text else None)
    assert {"_".join(row[:4]) for row in rows} == {sample.sample_id for sample in world.samples}
    assert {row[-1] for row in rows} == {""}


def test_every_number_has_ids_of_its_own() -> None:
    layout = LAYOUTS["deepjyotisaha85"]
    members = pd.DataFrame({"member": "", **dict.fromkeys(IDS, "")}, index=range(400_000))
    members["number"] = np.arange(1, 400_001).astype(str)
    ids = layout.resolve("arithmetic", members, pd.DataFrame())
    assert not ids.duplicated().any()
    assert ids[["background", "foreground", "placement", "flip"]].nunique().tolist() == [100, 100, 20, 2]


def test_labels_may_be_missing_or_say_two_things() -> None:
    composites = [f"data_1/Fg-Bg/fg-bg{number}.jpg" for number in (1, 2, 3)]
    said = [["Background/bg5.jpg", "Foreground/fg9.png", composites[0], "", ""]] * 2
    said += [[f"Background/bg{number}.jpg", "Foreground/fg9.png", composites[1], "", ""] for number in (5, 6)]
    rows = resolve(LAYOUTS["mshilpaa"], "labels", composites, said)
    assert rows[0] == ["9", "5", "0", "1", ""]
    assert [row[-1] for row in rows[1:]] == ["the labels name it not exactly once"] * 2


def test_a_label_that_names_no_background_has_a_reason() -> None:
    composite = "data_1/Fg-Bg/fg-bg1.jpg"
    (row,) = resolve(LAYOUTS["mshilpaa"], "labels", [composite], [["elsewhere/1.jpg", "", composite, "", ""]])
    assert row[-1] == "nothing says which background it shows"


def test_every_layout_says_what_it_is_and_how_ids_follow() -> None:
    assert all(layout.title and layout.definition["origin"].startswith("https://") for layout in LAYOUTS.values())
    assert LAYOUTS["mshilpaa"].mappings == ("labels", "generated", "labelled")


def test_a_short_line_of_labels_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"line 2 has 2 values separated by '\\t', expected 5 \(background, foreground"
    ):
        LAYOUTS["mshilpaa"].read_labels("a\tb\tc\td\te\na\tb\n")


def test_a_layout_is_made_again_from_its_definition() -> None:
    assert all(layout_from_definition(name, layout.definition) == layout for name, layout in LAYOUTS.items())


def test_own_patterns_make_a_layout() -> None:
    layout = layout_from_patterns(OWN)
    assert layout.recognise("any/depths/kitchen-7.png") == ("depth", {"background": "kitchen", "number": "7"})
    assert resolve(layout, "explicit", ["shots/kitchen-7.png"]) == [["0", "kitchen", "0", "7", ""]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": "x"}, "unknown kind masks; the kinds are background, composite, mask, depth, background_depth"),
        ({"mask": "(?P<number>["}, "mask: '(?P<number>[' is no regular expression: unterminated character set"),
        ({"mask": "(?i)m"}, "mask: '(?i)m' is no regular expression: global flags not at the start"),
        ({"mask": "m{99999999999}"}, "mask: 'm{99999999999}' is no regular expression: the repetition number is too l"),
        ({"mask": r"(?P<id>\d)"}, "mask: unknown group id; the groups are foreground, background, flip, placement"),
        ({"mask": r"m(?P<number>\d)"}, "mask names number, composite names background, number"),
        ({"mask": ["a", r"(?P<number>\d)"]}, "the expressions of mask name different groups"),
        ({"background": "x"}, "background must name its background, as in (?P<background>[0-9]+)"),
        ({"background_depth": "x"}, "background_depth must name its background, as in (?P<background>[0-9]+)"),
        (
            {"background_depth": r"(?P<background>\d+)-(?P<number>\d+)"},
            "background_depth names number; it is one map for a background and names that alone",
        ),
    ],
)
def test_own_patterns_that_cannot_work_are_refused(change: dict[str, str | list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        layout_from_patterns(OWN | change)


def test_own_patterns_need_the_four_kinds() -> None:
    with pytest.raises(ValueError, match="no regular expression for depth, mask"):
        layout_from_patterns({kind: OWN[kind] for kind in ("background", "composite")})


def test_names_that_fit_nothing_are_shown_with_the_known_layouts() -> None:
    with pytest.raises(ValueError, match=r"'a1', 'a2', 'a3'; known are deepjyotisaha85, mshilpaa, .*data\.layout"):
        detect_layout(["a1", "a2", "a3"], LAYOUTS)


def test_a_tie_names_both_layouts() -> None:
    with pytest.raises(ValueError, match="the layouts deepjyotisaha85 and sudhakarmlal fit equally well"):
        detect_layout(["bg/bg_1.jpg", "bg_jpg/bg_img_1.jpg"], LAYOUTS)


def test_the_setting_chooses_the_layout() -> None:
    assert choose_layout("mshilpaa", []).name == "mshilpaa"
    assert choose_layout("auto", ["bg_jpg/bg_img_1.jpg"]).name == "sudhakarmlal"
    assert choose_layout(OWN, []).name == "own"
    with pytest.raises(ValueError, match="unknown layout 'mine'; known are auto, deepjyotisaha85"):
        choose_layout("mine", [])


EXPRESSIONS = st.text(max_size=15) | st.sampled_from(
    [
        r"(?P<background>\w+)/(?P<number>\d+)",
        r"(?i)x(?P<background>\w)",
        "(?P<background>a)(?P<background>b)",
        "(?<=a*)b",
    ]
)
OWN_KINDS = st.sampled_from([*KINDS, "other"])


def test_a_layout_is_detected_by_names_spread_over_all_of_them() -> None:
    few = [f"x{number}" for number in range(9999)]
    assert sample_names(iter(few)) == few
    many = sample_names(str(number) for number in range(1_000_000))
    assert 5000 <= len(many) < 10_000
    gaps = np.diff(np.array(many, int))
    assert (gaps == gaps[0]).all()
    assert int(many[-1]) + gaps[0] >= 1_000_000


@settings(max_examples=60)
@given(st.dictionaries(OWN_KINDS, EXPRESSIONS | st.lists(EXPRESSIONS, max_size=2)), st.lists(st.text(max_size=20)))
def test_any_patterns_make_a_layout_or_are_refused_by_their_key(patterns, names) -> None:
    for given_patterns in (patterns, OWN | patterns):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sets within sets, one day
            try:
                layout = layout_from_patterns(given_patterns)
            except ValueError as error:
                assert str(error).startswith("data.layout: ")
                continue
        assert {type(layout.recognise(name)) for name in names} <= {Recognised, type(None)}


NUMBERS = st.integers(0, 10**25).map(str) | st.text("0123456789\u0663", min_size=1, max_size=30)
LABELS = st.lists(st.lists(st.text(max_size=5), min_size=5, max_size=5), max_size=3)


@settings(max_examples=15)
@given(st.lists(NUMBERS, min_size=1, max_size=3), LABELS)
def test_any_number_in_a_name_has_ids_or_a_reason(numbers, labels) -> None:
    forms = {
        "deepjyotisaha85": "image/fg_bg_{}.jpg",
        "sajnanshetty": "fg_bg/bg_002/{}.jpg",
        "sumankanukollu": "bg_fg_1/96_bg_{}_fg.jpg",
        "mshilpaa": "data_1/Fg-Bg/fg-bg{}.jpg",
        "sudhakarmlal": "fg_bg_jpg/fg_bg_1_{}_0_1.jpg",
    }
    for name, form in forms.items():
        layout = LAYOUTS[name]
        paths = [path for path in map(form.format, numbers) if layout.recognise(path)]
        for mapping in layout.mappings:
            rows = resolve(layout, mapping, paths, labels if layout.label_columns else None)
            assert len(rows) == len(paths)
            assert all(row[1] or row[-1] for row in rows)


@given(st.text(max_size=60))
def test_any_labels_are_rows_or_an_error_that_names_the_line(text) -> None:
    layout = LAYOUTS["mshilpaa"]
    try:
        assert all(len(row) == len(layout.label_columns) for row in layout.read_labels(text))
    except ValueError as error:
        assert re.match(r"line \d+ has \d+ values", str(error))
