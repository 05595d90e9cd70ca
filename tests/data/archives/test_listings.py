"""Proves that what an archive holds is listed once, comes back from the disk as it was, and names what is refused."""

import zipfile
from pathlib import Path

import pytest
from support.planned import list_all, plan_all
from support.settings import SHIPPED_PARAMS
from support.toy import write_toy_archive, write_zip

from maskdepth.data.archives.archive import Archive
from maskdepth.data.archives.listings import Listing, write_listings
from maskdepth.data.archives.local_headers import Member
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import load_params


def test_members_come_back_as_they_were_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        for name in ("b ä/001.jpg", "a/\N{GRINNING FACE}.png", "NA", "7"):
            opened.writestr(name, b"x" * 50)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "x, y.txt").write_bytes(b"")
    listed = list_all(tmp_path)
    for archive, listing in listed.items():
        assert isinstance(listing, Listing)
        assert listing.members() == archive.members()
        assert list(listing.paths()) == [archive.path_of(member) for member in archive.members()]
    assert [len(listing.members()) for listing in listed.values()] == [4, 1]


class Far(Archive):
    """An archive whose members lie far behind, and have the largest CRC."""

    def members(self) -> list[Member]:
        return [Member("x", 2**40, 2**32 - 1, 2**40, offset=2**41, method=8, end=2**42, changed=2**32 - 1)]


def test_no_number_is_cut(tmp_path: Path) -> None:
    archive = Far("a.zip", tmp_path, is_zip=True)
    assert write_listings([archive], tmp_path)[archive].members() == archive.members()


def test_an_archive_of_nothing_is_listed_as_empty(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [(".hidden", b"x")])
    (listing,) = list_all(tmp_path).values()
    assert (listing.members(), list(listing.paths())) == ([], [])


def test_a_bad_archive_says_why_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    write_zip(tmp_path / "b.zip", [("x", b"x")])
    refused, listing = list_all(tmp_path).values()
    assert isinstance(refused, RefusedError)
    assert (refused.where, refused.reason) == ("a.zip", "the file is empty")
    assert isinstance(listing, Listing)


def test_what_was_listed_is_not_listed_again(tmp_path: Path) -> None:
    """A store is asked once, and loose files are read once, for their names."""
    write_toy_archive(tmp_path / "raw")
    (plan,) = plan_all(tmp_path / "raw", read_layouts()["sudhakarmlal"], load_params(SHIPPED_PARAMS).data)
    (tmp_path / "raw" / "batch1_images.zip").unlink()
    assert plan.demand.counts == {"background": 3, "composite": 24, "mask": 24, "depth": 24}
    assert [kind for _, kind in plan.read_contents().pictures()].count("mask") == plan.demand.counts["mask"]


def test_a_list_that_somebody_touched_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [("x", b"x")])
    (listing,) = list_all(tmp_path).values()
    listing.path.write_bytes(listing.path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"a\.parquet is not a whole table"):
        listing.members()
