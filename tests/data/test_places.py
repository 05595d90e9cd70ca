"""Places are named by the bytes of a picture or by a person, and what is added to the data changes none of them."""

import pandas as pd
import pytest

from maskdepth.data.places import list_unknown, name_places, read_places

INDEX = pd.DataFrame({"background": [1, 2, 3, 4], "background_digest": ["aa", "bb", "bb", "cc"]})


def write(tmp_path, text):
    path = tmp_path / "places.csv"
    path.write_text(text)
    return path


def test_without_a_word_of_anybody_equal_bytes_are_one_place(tmp_path):
    places = read_places(write(tmp_path, "background,place\n"))
    assert name_places(INDEX, places).tolist() == ["aa", "bb", "bb", "cc"]


def test_a_person_puts_pictures_together_and_their_copies_with_them(tmp_path):
    places = read_places(write(tmp_path, "background,place\n001,table\n2,table\n\n"))
    assert name_places(INDEX, places).tolist() == ["table", "table", "table", "cc"]


def test_text_ids_have_places_too(tmp_path):
    places = read_places(write(tmp_path, "background,place\nhall 07,hall\n"))
    assert name_places(INDEX.assign(background=["hall 07", "2", "3", "4"]), places)[0] == "hall"


def test_one_picture_in_two_places_is_an_error(tmp_path):
    places = read_places(write(tmp_path, "background,place\n2,table\n3,yard\n"))
    with pytest.raises(ValueError, match="one picture is called two places: background 2 as table and 3 as yard; call"):
        name_places(INDEX, places)


def test_a_background_that_is_not_there_is_told(tmp_path):
    assert list_unknown(INDEX, read_places(write(tmp_path, "background,place\n7,table\n2,table\n"))) == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the columns ; expected background,place"),
        ("id,place\n", r"has the columns id,place; expected background,place"),
        ("background,place\n1\n", r"places\.csv line 2: 1; expected background,place"),
        ("background,place\n1,a\n2,\n", r"places\.csv line 3: 2,; expected background,place"),
        ("background,place\n1,a\n01,b\n", r"background 1 is in two places; leave it in one"),
    ],
)
def test_what_is_no_table_of_places_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_places(write(tmp_path, text))


def test_a_missing_table_says_how_it_begins(tmp_path):
    with pytest.raises(FileNotFoundError, match="make it with the line background,place"):
        read_places(tmp_path / "places.csv")
