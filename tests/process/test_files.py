"""Files that change in one step: the old one or the whole new one, through no link, with nothing left beside them."""

import pytest

from maskdepth.process.files import replace_text, replacing


def test_a_file_is_the_old_one_until_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    replace_text(path, "old")
    with replacing(path, durable=True) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path, error):
    replace_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), replacing(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise error
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_text_that_cannot_be_written_leaves_the_old_file_alone(tmp_path):
    replace_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        replace_text(tmp_path / "a.txt", "new \ud800")  # a lone surrogate has no UTF-8
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "soft").symlink_to(precious)
    (tmp_path / ".partial-soft").symlink_to(precious)
    (tmp_path / "hard").hardlink_to(precious)
    precious.chmod(0o444)  # as DVC leaves an output
    for name in ("soft", "hard"):
        replace_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new" and not (tmp_path / name).is_symlink()
    assert precious.read_text() == "kept"


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OSError, match=r"folder/a\.txt'$"):
        replace_text(tmp_path / "folder" / "a.txt", "new")
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError, match="taken"):
        replace_text(tmp_path / "taken", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "taken"]
