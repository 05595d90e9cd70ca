"""Proves that only what belongs together is paired: files, folders, tables, data sets of the students."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskdepth.data.layouts.layout import read_layouts
from maskdepth.making.drawing.sample import write_sample
from maskdepth.serving.pairs import find_pairs

ROOM, VISITOR = "rooms/7.jpg", "visitors/7.jpg"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_two_folders_are_paired_by_name_whatever_the_suffix(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "a.jpg", "b.PNG", "notes.txt", ".hidden.png")
    composites = touch(tmp_path / "composites", "b.jpeg", "a.png")
    pairs, left_over = find_pairs(backgrounds, composites)
    assert [(pair.name, pair.background.name, pair.composite.name) for pair in pairs] == [
        ("a", "a.jpg", "a.png"),
        ("b", "b.PNG", "b.jpeg"),
    ]
    assert left_over == []


@pytest.mark.parametrize(
    ("backgrounds", "composites", "pairs"),
    [
        (
            ["bg_jpg/bg_img_7.jpg", "bg_jpg/bg_img_8.jpg", "bg_jpg/bg_img_9.jpg"],
            ["fg_bg_jpg/fg_bg_3_7_0_1.jpg", "fg_bg_jpg/fg_bg_12_8_1_20.jpg", "fg_bg_jpg/fg_bg_1_77_0_1.jpg"],
            {"fg_bg_3_7_0_1": "bg_img_7.jpg", "fg_bg_12_8_1_20": "bg_img_8.jpg"},
        ),
        (["bg/7_bg.jpg"], ["bg_fg_1/7_bg_12_fg.jpg"], {"7_bg_12_fg": "7_bg.jpg"}),
        (["background/7.jpg"], ["fg_bg/bg_007/24001.jpg"], {"24001": "7.jpg"}),
    ],
)
def test_names_of_the_known_archives_are_paired_by_the_background_they_name(tmp_path, backgrounds, composites, pairs):
    touch(tmp_path, *backgrounds, *composites)
    folders = (tmp_path / names[0] for names in (backgrounds, composites))
    found, left_over = find_pairs(*(path.parent for path in folders))
    assert {pair.name: pair.background.name for pair in found} == pairs
    assert len(left_over) == len(backgrounds) + len(composites) - 2 * len(pairs)


def test_names_with_a_running_number_alone_are_not_guessed(tmp_path):
    touch(tmp_path, "bg/bg_1.jpg", "image/fg_bg_1.jpg")
    with pytest.raises(ValueError, match="a pair has one name"):
        find_pairs(tmp_path / "bg", tmp_path / "image")


def test_an_accent_written_in_two_ways_is_one_name(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "caf\u00e9.jpg")
    composites = touch(tmp_path / "composites", "cafe\u0301.jpg")
    assert [pair.name for pair in find_pairs(backgrounds, composites)[0]] == ["caf\u00e9"]


def test_a_picture_without_partner_is_named_with_the_folder_that_lacks_it(tmp_path):
    backgrounds = touch(tmp_path / "backgrounds", "a.jpg", "empty.jpg")
    composites = touch(tmp_path / "composites", "a.jpg", "lone.jpg")
    pairs, left_over = find_pairs(backgrounds, composites)
    assert [pair.name for pair in pairs] == ["a"]
    assert left_over == [
        ("lone", "failed", None, f"no background of this name in {backgrounds}"),
        ("empty", "failed", None, f"no composite of this name in {composites}"),
    ]


def test_one_background_goes_with_every_composite_of_a_folder(tmp_path):
    background = touch(tmp_path, "room.jpg") / "room.jpg"
    pairs, left_over = find_pairs(background, touch(tmp_path / "composites", "a.jpg", "b.jpg"))
    assert [(pair.name, pair.background) for pair in pairs] == [("a", background), ("b", background)]
    assert left_over == []


def test_what_cannot_be_paired_is_an_error_that_says_why(tmp_path):
    full, empty = touch(tmp_path / "full", "a.jpg"), tmp_path / "empty"
    empty.mkdir()
    picture = full / "a.jpg"
    with pytest.raises(ValueError, match=r"empty holds no pictures; expected files that end in \.jpeg, \.jpg, \.png"):
        find_pairs(picture, empty)
    with pytest.raises(ValueError, match=r"full is a folder but .*a\.jpg is one picture; name the background"):
        find_pairs(full, picture)
    for missing in ((full / "b.jpg", picture), (picture, full / "b.jpg")):
        with pytest.raises(FileNotFoundError, match=r"b\.jpg is missing; expected a JPEG or PNG picture, or a folder"):
            find_pairs(*missing)
    with pytest.raises(FileNotFoundError, match=r"b\.csv is missing; expected two pictures or folders, a CSV table of"):
        find_pairs(full / "b.csv", None)
    with pytest.raises(ValueError, match=r"a\.jpg is one picture; name the one with the object behind it"):
        find_pairs(picture, None)
    with pytest.raises(ValueError, match=r"no file name of .*other is also in .*full; a pair has one name"):
        find_pairs(full, touch(tmp_path / "other", "b.jpg"))
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name up to the suffix; rename one"):
        find_pairs(touch(full, "a.png"), full)


# Tables


def write_table(folder: Path, text: str, *names: str) -> Path:
    touch(folder, *names)
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"


def test_a_table_pairs_what_its_rows_name_below_its_own_folder(tmp_path):
    table = write_table(tmp_path, f"number,composite,background\n1,{VISITOR},{ROOM}\n", ROOM, VISITOR)
    ((pair,), left_over) = find_pairs(table, None)
    assert (pair.name, pair.background, pair.composite) == ("7", tmp_path / ROOM, tmp_path / VISITOR)
    assert left_over == []


def test_a_table_may_name_what_lies_in_archives(tmp_path):
    table = write_table(tmp_path, f"background,composite\n{ROOM},{VISITOR}\n", ROOM, VISITOR)
    for folder in ("rooms", "visitors"):
        shutil.make_archive(str(tmp_path / folder), "zip", tmp_path / folder)
        shutil.rmtree(tmp_path / folder)
    ((pair,), _) = find_pairs(table, None)
    assert [str(pair.background), str(pair.composite)] == [
        f"{tmp_path}/rooms.zip/7.jpg",
        f"{tmp_path}/visitors.zip/7.jpg",
    ]


def test_equal_names_in_two_folders_get_the_names_of_their_folders(tmp_path):
    rows = "background,composite\nroom.jpg,plain/1.jpg\nroom.jpg,flip/1.jpg\nroom.jpg,flip/2.jpg\n"
    table = write_table(tmp_path, rows, "room.jpg", "plain/1.jpg", "flip/1.jpg", "flip/2.jpg")
    assert [pair.name for pair in find_pairs(table, None).pairs] == ["plain-1", "flip-1", "2"]


def test_a_row_whose_file_is_missing_fails_alone_and_names_its_line(tmp_path):
    rows = f"background,composite\n{ROOM},{VISITOR}\n{ROOM},visitors/8.jpg\nrooms/9.jpg,visitors/9.jpg\n{ROOM},\n"
    table = write_table(tmp_path, rows, ROOM, VISITOR)
    pairs, left_over = find_pairs(table, None)
    assert [pair.name for pair in pairs] == ["7"]
    assert [outcome.note for outcome in left_over] == [
        f"{table} line 3: visitors/8.jpg is missing; paths begin in {tmp_path}",
        f"{table} line 4: rooms/9.jpg is missing; paths begin in {tmp_path}",
        f"{table} line 5: a name is missing; paths begin in {tmp_path}",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"background,picture\na,b\n",
            "lacks the column composite; expected background,composite, found backgr",
        ),
        (b"", "lacks the column background and composite; expected background,composite, found no columns"),
        (b"background,composite\n", "has no rows; write one pair of pictures a line"),
        (b"background,composite\na.jpg,b.jpg\n", r"line 2: a\.jpg is missing; paths begin in"),
        (b"\x89PNG\r\n\xff\xfe", r"is no CSV table \(.*\); save it as one, in UTF-8"),
    ],
)
def test_a_table_that_pairs_nothing_is_an_error_that_names_it(tmp_path, content, message):
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"pairs\.csv {message}"):
        find_pairs(tmp_path / "pairs.csv", None)


# Data sets


@pytest.fixture(scope="module", params=sorted(read_layouts()))
def drawn(request, tmp_path_factory):
    """Draw a small data set in a layout."""
    folder = tmp_path_factory.mktemp("drawn") / request.param
    write_sample(folder, request.param, 0, 3, 2, 12, 48)
    return folder


def decode(file) -> np.ndarray:
    if isinstance(file, Path):
        return np.asarray(Image.open(file).convert("RGB"), int)
    with zipfile.ZipFile(file.archive.raw_dir / file.archive.name) as archive, archive.open(file.member.name) as member:
        return np.asarray(Image.open(member).convert("RGB"), int)


def test_every_composite_of_a_data_set_gets_the_background_that_it_shows(drawn):
    pairs, left_over = find_pairs(drawn, None)
    assert len(pairs) >= 12 and left_over == []
    assert len({pair.name for pair in pairs}) == len(pairs)
    backgrounds = [str(pair.background) for pair in pairs]
    assert backgrounds == sorted(backgrounds) and len(set(backgrounds)) > 1
    for pair in pairs:
        apart = {str(other.background): decode(other.background) - decode(pair.composite) for other in pairs}
        middle = {name: np.median(np.abs(difference)) for name, difference in apart.items()}
        assert middle[str(pair.background)] == min(middle.values())


def test_a_zip_of_a_data_set_is_one_itself(tmp_path):
    write_sample(tmp_path / "raw", "sudhakarmlal", 0, 2, 4, 16, 48)
    archive = sorted((tmp_path / "raw").glob("*.zip"))[0]
    pairs, left_over = find_pairs(archive, None)
    assert pairs and not left_over
    assert {pair.composite.archive.name for pair in pairs} == {archive.name}


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ({1: 0, 2: 1, 3: 2, 4: 1}, {1: 0, 2: 1, 3: 2, 4: 1}),  # by numbers all would show the first
        # As in the original of this data set, whose labels pair one composite in a hundred with its background: 40
        # composites of each scene in a row.
        ({1: 0, 41: 1, 42: 1, 81: 2}, {1: 1, 41: 0, 42: 2, 81: 1}),
    ],
    ids=["right labels", "wrong labels"],
)
def test_labels_are_believed_unless_the_pixels_contradict_them(tmp_path, shown, told):
    rooms = [np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8) for number in range(3)]
    for folder in ("Background", "data_1/Fg-Bg"):
        (tmp_path / folder).mkdir(parents=True)
    for number, room in enumerate(rooms, start=1):
        Image.fromarray(room).save(tmp_path / f"Background/bg{number}.jpg")
    for number, room in shown.items():
        Image.fromarray(rooms[room]).save(tmp_path / f"data_1/Fg-Bg/fg-bg{number}.jpg")
    rows = [
        f"Background/bg{room + 1}.jpg\tForeground/fg1.png\tdata_1/Fg-Bg/fg-bg{number}.jpg\tmask\tdepth\n"
        for number, room in told.items()
    ]
    (tmp_path / "labels.txt").write_text("".join(rows))
    pairs, left_over = find_pairs(tmp_path, None)
    assert not left_over
    assert {int(pair.name[5:]): int(pair.background.stem[2:]) - 1 for pair in pairs} == shown


def test_labels_that_are_none_are_named(tmp_path):
    touch(tmp_path, "Background/bg1.jpg", "data_1/Fg-Bg/fg-bg1.jpg")
    (tmp_path / "labels.txt").write_text("bg1.jpg fg-bg1.jpg\n")
    with pytest.raises(ValueError, match=r"labels\.txt: not the labels of layout mshilpaa: line 1 has 1 values"):
        find_pairs(tmp_path, None)


def test_a_composite_whose_background_is_not_there_is_left_over(tmp_path):
    names = ["bg_jpg/bg_img_7.jpg", "fg_bg_jpg/fg_bg_3_7_0_1.jpg", "fg_bg_jpg/fg_bg_3_8_0_1.jpg"]
    pairs, left_over = find_pairs(touch(tmp_path, *names), None)
    assert [(pair.name, pair.background) for pair in pairs] == [("fg_bg_3_7_0_1", tmp_path / names[0])]
    assert [(outcome.name, outcome.note) for outcome in left_over] == [
        ("fg_bg_3_8_0_1", "there is no background 8; add it")
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["bg_jpg/bg_img_7.jpg"], r"has no composites in the names of layout sudhakarmlal \(.*fg_bg_\{.*\); add them"),
        (["fg_bg_jpg/fg_bg_3_7_0_1.jpg"], "has no backgrounds in the names of layout sudhakarmlal"),
        (
            ["bg_jpg/bg_img_7.jpg", "fg_bg_jpg/fg_bg_3_8_0_1.jpg"],
            "no composite has its background; the first: fg_b",
        ),
        (
            ["holiday.jpg"],
            "is no data set in one of the layouts deepjyotisaha85.*; name two folders, backgrounds",
        ),
    ],
)
def test_a_folder_that_is_no_data_set_is_an_error_that_names_it(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match=rf"{tmp_path}:? {message}"):
        find_pairs(tmp_path, None)


def test_a_damaged_archive_is_named_before_any_work(tmp_path):
    (tmp_path / "batch1.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"batch1\.zip: .*; download or copy it again"):
        find_pairs(tmp_path, None)
