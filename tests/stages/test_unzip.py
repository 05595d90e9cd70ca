"""Proves that the unzip stage decodes what is new, keeps what is not, and says what it did and what went wrong."""

import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from support.copied import copy_code
from support.member_tables import read_member_table
from support.settings import copy_params
from support.toy import write_toy_archive, write_zip

from maskdepth.data.archives.members import read_members
from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.params import update_params
from maskdepth.tracking.journal import read_journal
from stages import unzip as stage


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and one toy archive, to be in."""
    copy_params(tmp_path)
    write_toy_archive(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unzip() -> None:
    stage.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))


def stamps() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path("arrays").rglob("*.npy")}


def test_the_last_line_says_what_was_done(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unzip()
    done = "unzip: 75 pictures from 1 archives (1 new), 0 rejected, 64 px, layout sudhakarmlal\n"
    assert capsys.readouterr().out == done
    assert read_arrays(workspace / "arrays").composite.shape == (24, 64, 64, 3)
    journal = read_journal(workspace / "journals" / "unzip.jsonl")
    assert journal.status == "FINISHED"
    assert {point.name: point.value for point in journal.points}["pictures"] == 75


@pytest.mark.usefixtures("workspace")
def test_only_a_new_archive_is_decoded_and_a_removed_one_disappears(capsys: pytest.CaptureFixture[str]) -> None:
    unzip()
    before = stamps()
    write_toy_archive(Path("raw"), name="batch2_images.zip", foregrounds=(3,))
    unzip()
    assert "from 2 archives (1 new)" in capsys.readouterr().out
    assert stamps().items() > before.items()
    Path("raw/batch2_images.zip").unlink()
    unzip()
    assert "from 1 archives (0 new)" in capsys.readouterr().out
    assert stamps() == before


@pytest.mark.usefixtures("workspace")
def test_a_refused_archive_is_named_and_harms_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    Path("raw/page.zip").write_bytes(b"<html>quota exceeded</html>")
    unzip()
    output = capsys.readouterr()
    assert output.err.startswith("warning: left out: page.zip: it is a web page (27 bytes), not a zip; log in")
    assert "75 pictures from 1 archives (2 new), 1 rejected" in output.out
    (row,) = read_member_table(Path("arrays")).query("reason != ''").to_dict("records")
    assert (row["archive"], row["member"]) == ("page.zip", "")


@pytest.mark.usefixtures("workspace")
def test_without_any_usable_archive_it_stops() -> None:
    Path("raw/batch1_images.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no archive can be read: batch1_images\.zip: the file is empty; download"):
        unzip()
    shutil.rmtree("raw")
    with pytest.raises(FileNotFoundError, match="raw is not a folder; put your archives there, or run `maskdepth samp"):
        unzip()


@pytest.mark.usefixtures("workspace")
def test_another_size_decodes_no_archive_again_where_pictures_are_kept_encoded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    update_params(Path("params.yaml"), {"data.store": "encoded"})
    unzip()
    update_params(Path("params.yaml"), {"data.image_size": 32})
    unzip()
    assert "75 pictures from 1 archives (0 new), 0 rejected, 32 px" in capsys.readouterr().out
    assert read_arrays(Path("arrays")).mask.shape == (24, 32, 32)


def damage_middle(path: Path, stretch: slice) -> bytes:
    """Put zeros where an archive is not copied yet; give what belongs there."""
    whole = path.read_bytes()
    path.write_bytes(whole[: stretch.start] + bytes(stretch.stop - stretch.start) + whole[stretch.stop :])
    return whole


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_an_archive_that_was_mended_is_read_again(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """Its directory, which lies at its end, is the same before and after."""
    update_params(Path("params.yaml"), {"data.store": store})
    path = Path("raw/batch1_images.zip")
    whole = damage_middle(path, slice(10_000, 20_000))
    unzip()
    told = capsys.readouterr()
    count = int(re.findall(r"(\d+) rejected", told.out)[0])
    assert 10 < count < 60
    advice = "are not as their archive announces, or cannot be read: copy it again, then `dvc repro --force unzip`"
    assert told.err == f"warning: {count} files {advice}\n"
    path.write_bytes(whole)
    unzip()
    done = "unzip: 75 pictures from 1 archives (1 new), 0 rejected, 64 px, layout sudhakarmlal\n"
    assert capsys.readouterr() == (done, "")
    unzip()
    assert "(0 new)" in capsys.readouterr().out


@pytest.mark.usefixtures("workspace")
def test_what_would_be_rejected_whoever_reads_it_is_not_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    write_zip(Path("raw/batch2_images.zip"), [("bg_jpg/bg_img_9.jpg", b"no picture"), ("note.txt", b"x")])
    for new in (2, 0):
        unzip()
        assert f"from 2 archives ({new} new), 2 rejected" in capsys.readouterr().out


@pytest.mark.usefixtures("workspace")
def test_labels_that_were_mended_are_read_again() -> None:
    Path("raw/batch1_images.zip").unlink()
    write_toy_archive(Path("raw"), "mshilpaa")
    labels = Path("raw/labels.txt").read_bytes()
    with zipfile.ZipFile("raw/labels.zip", "w") as opened:
        opened.writestr(zipfile.ZipInfo("labels.txt"), labels)
    Path("raw/labels.txt").unlink()
    whole = damage_middle(Path("raw/labels.zip"), slice(200, 300))
    unzip()
    assert read_members(Path("arrays")).labels.empty
    Path("raw/labels.zip").write_bytes(whole)
    unzip()
    assert len(read_members(Path("arrays")).labels) == 24


@pytest.mark.usefixtures("workspace")
def test_a_missing_archive_of_a_numbered_set_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 4):
        write_toy_archive(Path("raw"), name=f"batch{number}_images.zip", foregrounds=(number,))
    unzip()
    missing = "warning: batch2_images.zip is missing between batch1_images.zip and batch4_images.zip\n"
    assert capsys.readouterr().err == missing
    write_toy_archive(Path("raw"), name="batch2_images.zip", foregrounds=(9,))
    unzip()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("workspace")
def test_memory_grows_with_the_largest_archive_and_not_with_their_number() -> None:
    unzip()  # what is imported, and kept, for good
    peaks = []
    for number in (4, 16):
        for name in map(str, range(number)):
            write_zip(Path("raw") / f"{name}x.zip", [(f"note {name} {line}.txt", b"x") for line in range(1000)])
        tracemalloc.start()
        unzip()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 12 * 1000 * 50  # [bytes] a member; a list in memory has 300, a table 700


@pytest.mark.usefixtures("workspace")
def test_nothing_but_shards_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", None):
        if content is not None:
            Path("raw/batch2_images.zip").write_bytes(content)
        unzip()
        shards = ["batch1_images", "batch2_images"]
        assert sorted(path.name for path in Path("arrays").iterdir()) == shards
    Path("raw/batch1_images.zip").write_bytes(b"")
    with pytest.raises(ValueError, match="no archive can be read"):
        unzip()
    assert sorted(path.name for path in Path("arrays").iterdir()) == shards
    capsys.readouterr()


def test_a_change_of_any_code_that_decodes_makes_every_shard_anew(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = copy_code(workspace / "code")
    monkeypatch.setattr(stage, "ROOT", code)
    unzip()
    unzip()
    assert "from 1 archives (0 new)" in capsys.readouterr().out
    tables = code / "src" / "maskdepth" / "data" / "tables.py"
    tables.write_text(tables.read_text() + "# another line\n")
    unzip()
    assert "from 1 archives (1 new)" in capsys.readouterr().out
