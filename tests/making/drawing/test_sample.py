"""Proves that the sample data set is what it says: named as its layout is, paired, repeatable, whole or absent."""

import hashlib
import io
import os
import zipfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.planned import list_all, plan_all
from support.settings import SHIPPED_PARAMS

from maskdepth.data.archives.members import Members, read_members
from maskdepth.data.archives.shards import write_shards
from maskdepth.data.arrays.arrays import Arrays, read_arrays
from maskdepth.data.index.joining import build_index
from maskdepth.data.layouts.layout import IDS, NAME_COLUMNS, choose_layout, read_layouts
from maskdepth.making.drawing import sample
from maskdepth.making.drawing.sample import plan_samples, write_sample
from maskdepth.making.layout_writer import Totals, encode_picture, find_written, written_layouts
from maskdepth.params import load_params

COUNTS = Totals(background=4, foreground=5, number=12)
SIZE = 32


def write(out_dir: Path, layout: str, seed: int = 0, size: int = SIZE, first: int = 1) -> dict[str, bytes]:
    """Write a small data set and read it back: path, archives being folders, to content."""
    write_sample(out_dir, layout, seed, COUNTS.background, COUNTS.foreground, COUNTS.number, size, first)
    contents = {}
    for path in sorted(out_dir.rglob("*")):
        name = path.relative_to(out_dir).as_posix()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                contents |= {
                    f"{name.removesuffix('.zip')}/{member}": archive.read(member) for member in archive.namelist()
                }
        elif path.is_file():
            contents[name] = path.read_bytes()
    return contents


def recognised(layout: str, contents: dict[str, bytes]) -> pd.DataFrame:
    """What the layout says of each path: kind, member and the ids in its name."""
    rows = []
    for path in contents:
        said = next(filter(None, map(read_layouts()[layout].recognise, tails(path))), None)
        assert said, path
        rows.append({"kind": said.kind, "member": path, **{name: said.ids.get(name, "") for name in NAME_COLUMNS}})
    return pd.DataFrame(rows)


def tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def digest(out_dir: Path) -> dict[str, str]:
    files = (path for path in out_dir.rglob("*") if path.is_file())
    return {path.relative_to(out_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


@pytest.mark.parametrize("layout", written_layouts())
def test_names_say_what_the_plan_says_and_nothing_is_missing(tmp_path: Path, layout: str) -> None:
    contents = write(tmp_path / "raw", layout)
    members = recognised(layout, contents)
    known = read_layouts()[layout]
    columns = list(known.label_columns)
    labels = pd.DataFrame(known.read_labels(contents["labels.txt"].decode()) if columns else [], columns=columns)
    composites = members[members["kind"] == "composite"]
    ids = known.resolve(known.mappings[0], composites, labels)
    found = sorted(map(tuple, ids[list(IDS)].astype(int).to_numpy().tolist()))
    plan = plan_samples(COUNTS, seed=0, mirrors=written_layouts()[layout].mirrors)
    assert found == sorted((one.foreground, one.background, one.flip, one.placement) for one in plan)
    assert Counter(members["kind"])["mask"] == Counter(members["kind"])["depth"] == COUNTS.number
    numbers = members.groupby("kind")[["background", "foreground"]].agg(lambda column: set(column) - {""})
    assert numbers.loc["background", "background"] == {"1", "2", "3", "4"}
    assert numbers.loc["background_depth", "background"] == {"1", "2", "3", "4"}
    assert numbers.loc["foreground", "foreground"] == {"1", "2", "3", "4", "5"}
    assert numbers.loc["foreground_mask", "foreground"] == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("layout", written_layouts())
def test_what_is_written_is_read_again_pixel_for_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    drawn: dict[str, dict[str, np.ndarray]] = {}

    def remember(written, rng, totals, one, composite):
        name = f"{one.foreground}_{one.background}_{one.flip}_{one.placement}"
        depth = np.round(255 * composite.depth).astype(np.uint8)
        drawn[name] = {"composite": composite.picture, "mask": composite.mask > 127, "depth": depth}
        return encode_composite(written, rng, totals, one, composite)

    def remember_background(written, rng, number, scene):
        depth = np.round(255 * scene.depth).astype(np.uint8)
        backgrounds[number] = {"background": scene.picture, "background_depth": depth}
        return encode_background(written, rng, number, scene)

    backgrounds: dict[int, dict[str, np.ndarray]] = {}
    encode_composite, encode_background = sample._encode_composite, sample._encode_background
    monkeypatch.setattr(sample, "_encode_composite", remember)
    monkeypatch.setattr(sample, "_encode_background", remember_background)
    monkeypatch.setattr(sample, "_encode", lambda picture, suffix, rng: encode_picture(picture, 0))  # nothing is lost
    write_sample(tmp_path / "raw", layout, 0, COUNTS.background, COUNTS.foreground, COUNTS.number, SIZE)
    members, arrays = unzip(tmp_path / "raw", tmp_path / "arrays")
    index = build_index(members, arrays)
    assert members.layout.name == layout
    assert index.rejected.empty
    assert set(index.samples["sample_id"]) == set(drawn)
    for row in index.samples.to_dict("records"):
        expected = drawn[row["sample_id"]] | backgrounds[row["background"]]
        for kind, pixels in expected.items():
            found = getattr(arrays, kind).take(np.array([row[f"{kind}_row"]]))[0]
            np.testing.assert_array_equal(found, pixels, err_msg=kind)


def unzip(raw: Path, arrays_dir: Path) -> tuple[Members, Arrays]:
    """Read a data set as the unzip stage does, its layout found by its names, pictures at their own size."""
    params = load_params(SHIPPED_PARAMS).data.model_copy(update={"image_size": SIZE})
    layout = choose_layout("auto", chain.from_iterable(listing.paths() for listing in list_all(raw).values()))
    arrays_dir.mkdir()
    list(write_shards(arrays_dir, plan_all(raw, layout, params), workers=1))
    return read_members(arrays_dir), read_arrays(arrays_dir)


def test_composite_shows_its_own_background_outside_the_mask_and_something_else_inside(tmp_path: Path) -> None:
    contents = write(tmp_path / "raw", "sudhakarmlal", size=64)
    composites = [path for path in contents if "/fg_bg_jpg/" in path]
    assert len(composites) == COUNTS.number
    for path in composites:
        archive, _, name = path.split("/")
        mask = decode(contents[f"{archive}/mask_black_jpg/{name.replace('fg_bg', 'bg_mask')}"])
        # JPEG works on blocks of 16: those that the object touches differ a little throughout.
        touched = np.kron((mask > 8).reshape(4, 16, 4, 16).any(axis=(1, 3)), np.ones((16, 16), dtype=bool))
        backgrounds = [decode(contents[f"{archive}/bg_jpg/bg_img_{number}.jpg"]) for number in range(1, 5)]
        differences = [np.abs(decode(contents[path]) - background).mean(axis=2) for background in backgrounds]
        outside = [difference[~touched].mean() for difference in differences]
        own = int(name.split("_")[3]) - 1
        assert outside[own] < 0.3 * min(outside[:own] + outside[own + 1 :])
        assert differences[own][mask > 200].mean() > 2 * outside[own]


def test_pictures_have_the_forms_of_the_layout(tmp_path: Path) -> None:
    contents = write(tmp_path / "raw", "mshilpaa")
    forms = {
        "Background/bg1.jpg": ("JPEG", "RGB", SIZE),
        "Background-Depth/bg-depth1.png": ("PNG", "L", SIZE),
        "Foreground/fg1.png": ("PNG", "RGBA", SIZE // 2),
        "Mask/mask1.jpg": ("JPEG", "L", SIZE // 2),
        "Dataset/data_part1/data_1/Fg-Bg/fg-bg1.jpg": ("JPEG", "RGB", SIZE),
        "Dataset/data_part1/data_1/Fg-Bg-Mask/fg-bg-mask1.jpg": ("JPEG", "L", SIZE),
        "Dataset/data_part2/data_2/Depth/depth12.jpg": ("JPEG", "L", SIZE),
    }
    for path, form in forms.items():
        picture = Image.open(io.BytesIO(contents[path]))
        assert (picture.format, picture.mode, picture.width) == form
        assert picture.width == picture.height


def test_same_seed_writes_the_same_bytes_however_many_processors_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for processors in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        write(tmp_path / str(processors), "sudhakarmlal")
        digests.append(digest(tmp_path / str(processors)))
    assert digests[0] == digests[1]
    write(tmp_path / "other", "sudhakarmlal", seed=1)
    assert digest(tmp_path / "other").keys() == digests[0].keys()
    assert digest(tmp_path / "other") != digests[0]


@pytest.mark.parametrize("mirrors", [True, False])
@pytest.mark.parametrize("totals", [Totals(120, 60, 2400), Totals(2, 3, 240), Totals(7, 1, 50)])
def test_no_key_is_planned_twice_and_backgrounds_share_evenly(totals: Totals, mirrors: bool) -> None:
    plan = plan_samples(totals._replace(number=totals.number // (2 - mirrors)), 0, mirrors)
    assert len({sample[1:] for sample in plan}) == len(plan)
    shares = Counter(sample.background for sample in plan)
    assert len(shares) == totals.background
    assert max(shares.values()) - min(shares.values()) <= 1
    assert sum(sample.flip for sample in plan) == (len(plan) // 2 if mirrors else 0)


def test_fewer_composites_than_backgrounds_still_writes_all_backgrounds(tmp_path: Path) -> None:
    write_sample(tmp_path / "raw", "mshilpaa", 0, 3, 1, 1, SIZE)
    assert len(list((tmp_path / "raw" / "Background").iterdir())) == 3


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_text("precious")
    with pytest.raises(ValueError, match=r"is not empty \(it has mine.jpg\); name a new folder"):
        write(tmp_path, "sudhakarmlal")
    assert (tmp_path / "mine.jpg").read_text() == "precious"


def test_empty_folder_and_the_remains_of_a_killed_run_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / ".raw.part").mkdir()
    (tmp_path / ".raw.part" / "batch1_images.zip").write_text("half")
    write(tmp_path / "raw", "sudhakarmlal")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_failed_run_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot write to .*file: File exists; choose another folder"):
        write(tmp_path / "file" / "raw", "sudhakarmlal")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("layout", "counts", "size", "message"),
    [
        ("nobody", (1, 1, 1), 32, "unknown layout 'nobody'; known: deepjyotisaha85, mshilpaa"),
        ("mshilpaa", (0, 1, 1), 32, "number of backgrounds is 0; expected 1 or more"),
        ("mshilpaa", (1, 1, 0), 32, "number of composites is 0; expected 1 or more"),
        ("mshilpaa", (1, 101, 1), 32, "number of foregrounds is 101; the layouts have at most 100"),
        ("mshilpaa", (1, 1, 41), 32, "41 composites are more than the 40 that 1 objects on 1 backgrounds can make"),
        ("sumankanukollu", (1, 1, 21), 32, "21 composites are more than the 20"),
        (
            "sajnanshetty",
            (101, 1, 1),
            32,
            "number of backgrounds is 101; the running numbers of this layout tell 100 apart",
        ),
        ("mshilpaa", (1, 1, 1), 31, "size is 31 px; expected 32 or more"),
    ],
)
def test_wrong_numbers_are_named_before_any_work(
    tmp_path: Path, layout: str, counts: tuple[int, int, int], size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path / "raw", layout, 0, *counts, size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", written_layouts())
def test_what_is_drawn_beside_other_data_has_numbers_above_theirs(tmp_path, layout):
    if find_written(layout).order:
        with pytest.raises(ValueError, match="cannot begin with 1001: ask for another layout"):
            write(tmp_path / "above", layout, first=1001)
        return
    alone, above = (write(tmp_path / str(first), layout, first=first) for first in (1, 1001))
    assert sorted(alone.values()) == sorted(above.values()) or "labels.txt" in alone
    ids = [recognised(layout, {name: b"" for name in some if name != "labels.txt"}) for some in (alone, above)]
    for column in ("foreground", "background", "number"):
        if column in NAME_COLUMNS:
            numbers = [pd.to_numeric(table[column][table[column] != ""]) for table in ids]
            assert sorted(numbers[0] + 1000) == sorted(numbers[1])
    (tmp_path / "both").mkdir()
    for first in ("1", "1001"):
        (tmp_path / first).rename(tmp_path / "both" / first)
    members, arrays = unzip(tmp_path / "both", tmp_path / "arrays")
    assert len(build_index(members, arrays).samples) == 2 * COUNTS.number
