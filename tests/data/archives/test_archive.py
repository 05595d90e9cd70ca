"""Proves which files below the raw folder make up which archive, and that all are read in place and whole."""

import os
import re
from pathlib import Path

import pytest
from support.toy import write_zip

from maskdepth.data.archives.archive import Archive, content_digest, describe_gaps, find_archives
from maskdepth.data.pictures.refusal import RefusedError


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_every_zip_is_an_archive_and_loose_files_go_by_their_top_folder(tmp_path: Path) -> None:
    write_files(tmp_path, "labels.txt", "Mask/deep/m1.jpg", "Mask/m2.jpg")
    for name in ("top.zip", "Mask/part.ZIP"):
        write_zip(tmp_path / name, [("a.jpg", b"a")])
    archives = find_archives(tmp_path)
    assert [(archive.name, archive.is_zip) for archive in archives] == [
        ("Mask", False),
        ("Mask/part.ZIP", True),
        ("files", False),
        ("top.zip", True),
    ]
    shards = [re.sub("-[0-9a-f]{8}$", "", archive.shard) for archive in archives]
    assert shards == ["Mask", "Mask-part", "files", "top"]
    names = [[member.name for member in archive.members()] for archive in archives]
    assert names == [["Mask/m2.jpg", "Mask/deep/m1.jpg"], ["a.jpg"], ["labels.txt"], ["a.jpg"]]


def test_what_desktops_leave_behind_is_passed_over(tmp_path: Path) -> None:
    write_files(tmp_path, "bg/1.jpg", "bg/.DS_Store", "bg/Thumbs.db", ".gitignore", "__MACOSX/bg/1.jpg")
    write_zip(tmp_path / "a.zip", [("x/1.jpg", b"1"), ("__MACOSX/x/._1.jpg", b"2"), ("x/.DS_Store", b"3")])
    archives = find_archives(tmp_path)
    assert [[member.name for member in archive.members()] for archive in archives] == [["x/1.jpg"], ["bg/1.jpg"]]


def test_loose_and_zipped_members_are_read_back(tmp_path: Path) -> None:
    write_files(tmp_path, "bg/1.jpg", "bg/2.jpg")
    write_zip(tmp_path / "a.zip", [("1.jpg", b"one"), ("2.jpg", b"two" * 100)])
    contents = []
    for archive in find_archives(tmp_path):
        with archive.opened([]) as read:
            contents.append([read(member) for member in archive.members()])
    assert contents == [[b"one", b"two" * 100], [b"bg/1.jpg", b"bg/2.jpg"]]


def test_a_loose_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, "bg/1.jpg", "bg/2.jpg")
    (archive,) = find_archives(tmp_path)
    changed, gone = archive.members()
    (tmp_path / changed.name).write_bytes(b"BG/1.jpg")
    (tmp_path / gone.name).unlink()
    with archive.opened([]) as read:
        with pytest.raises(RefusedError, match="CRC differs"):
            read(changed)
        with pytest.raises(RefusedError, match="cannot be read: No such file"):
            read(gone)


def test_the_digest_follows_the_content_and_not_the_packing(tmp_path: Path) -> None:
    packed = Archive("a.zip", tmp_path, is_zip=True)
    digests = []
    for content in (b"one", b"one", b"two"):
        write_zip(tmp_path / "a.zip", [("1.jpg", content)])
        digests.append(content_digest(packed.members()))
    assert digests[0] == digests[1] != digests[2]


def test_a_refused_archive_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, "deep/broken.zip")
    (archive,) = find_archives(tmp_path)
    with pytest.raises(RefusedError, match=r"^deep/broken.zip: not a zip file \(15 bytes\); download"):
        archive.members()


def test_a_pipe_among_loose_files_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (archive,) = find_archives(tmp_path)
    with pytest.raises(RefusedError, match=r"files: 'pipe.jpg' is not a regular file; remove it"):
        archive.members()


def test_a_linked_file_is_read_and_a_linked_folder_is_an_error(tmp_path: Path) -> None:
    write_files(tmp_path, "cache/1.jpg")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "1.jpg").symlink_to(tmp_path / "cache/1.jpg")
    (archive,) = find_archives(raw)
    assert [member.size for member in archive.members()] == [11]
    (raw / "folder").symlink_to(tmp_path / "cache")
    with pytest.raises(ValueError, match="folder is a link to a folder, which DVC does not track; copy"):
        find_archives(raw)


def test_no_two_archives_share_a_folder_of_arrays_on_any_system(tmp_path: Path) -> None:
    names = ["a b.zip", "a_b.zip", "A_b.zip", "a/b.zip", "a-b.zip", "a-b/1.jpg", os.fsdecode(b"\xff.zip")]
    names += [
        os.fsdecode(b"\xfe.zip"),
        "d" * 60 + "1.zip",
        "d" * 60 + "2.zip",
        "/".join("e" * 200 for _ in range(4)) + ".zip",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shards = [archive.shard for archive in find_archives(tmp_path)]
    assert len({shard.casefold() for shard in shards}) == len(names)
    assert all(len(os.fsencode(shard)) < 250 for shard in shards)
    assert "a_b" in shards


@pytest.mark.parametrize(("folder", "problem"), [("absent", "is not a folder"), (".", "is empty")])
def test_no_archives_says_where_to_put_them(folder: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{problem}; put your archives there, or run `maskdepth sample"):
        find_archives(tmp_path / folder)


def test_too_large_a_file_refuses_its_archive(tmp_path: Path) -> None:
    write_files(tmp_path, "bg/large.jpg")
    (archive,) = find_archives(tmp_path, max_member_bytes=5)
    with pytest.raises(RefusedError, match=r"bg: 'bg/large.jpg' has 12 bytes, over 5 bytes; .*data\.max_member_bytes"):
        archive.members()


def test_a_zip_that_is_gone_when_it_is_opened_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [("1.jpg", b"one")])
    (archive,) = find_archives(tmp_path)
    (tmp_path / "a.zip").unlink()
    with pytest.raises(RefusedError, match=r"^a\.zip: cannot be opened any more: No such file"), archive.opened([]):
        pass


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"a\xff.zip", r"a\udcff.zip"), (b"a\nb.zip", r"a\nb.zip"), (b"a\x1b[31m.zip", r"a\x1b[31m.zip")],
)  # fmt: skip
def test_an_archive_whose_name_cannot_be_shown_is_refused_by_one_that_can(
    name: bytes, shown: str, tmp_path: Path
) -> None:
    write_zip(tmp_path / os.fsdecode(name), [("1.jpg", b"one")])
    (archive,) = find_archives(tmp_path)
    with pytest.raises(RefusedError) as refused:
        archive.members()
    assert str(refused.value) == f"{shown}: it has unprintable characters in its name; rename it"


def test_a_folder_whose_name_cannot_be_shown_is_refused_by_one_that_can(tmp_path: Path) -> None:
    write_files(tmp_path, "bg\n/1.jpg")
    (archive,) = find_archives(tmp_path)
    with pytest.raises(RefusedError, match=r"^bg\\n: it has unprintable characters in its name; rename it$"):
        archive.members()


@pytest.mark.parametrize(
    ("names", "gaps"),
    [
        (["batch1_images", "batch3_images", "batch4_images"], ["batch2_images.zip is missing between batch1_images"]),
        (["b_01", "b_02", "b_04", "b_07", "b_10", "b_11"], ["b_03.zip, b_05.zip, b_06.zip, b_08.zip, b_09.zip are mi"]),
        (["a1_b1", "a1_b2", "a1_b4"], ["a1_b3.zip is missing between a1_b1.zip and a1_b4.zip"]),
        (["d-001", "d-003"], ["d-002.zip is missing between d-001.zip and d-003.zip"]),
        ([f"n{n}" for n in range(0, 13, 2)], ["n1.zip, n3.zip, n5.zip, n7.zip, n9.zip, ... are missing between n0.zi"]),
        (["batch1", "batch2", "batch3"], []),
        (["images", "masks"], []),
        (["batch7"], []),
        (["images1", "masks3"], []),
        (["set1_2019", "set2_2021"], []),
        (["data2", "data400"], []),
        (["a1_b1", "a1_b2", "a2_b1", "a2_b2"], []),
    ],
)  # fmt: skip
def test_a_gap_in_a_numbered_set_is_told_and_nothing_else(names: list[str], gaps: list[str], tmp_path: Path) -> None:
    told = describe_gaps([Archive(f"{name}.zip", tmp_path, is_zip=True) for name in names])
    assert [gap[: len(start)] for gap, start in zip(told, gaps, strict=True)] == gaps


def test_an_archive_that_was_unpacked_is_not_missing(tmp_path: Path) -> None:
    write_files(tmp_path, "batch1.zip", "batch2/a.jpg", "batch3.zip")
    assert describe_gaps(find_archives(tmp_path)) == []
