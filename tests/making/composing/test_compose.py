"""Proves that a composed data set is exact, repeatable, whole or absent, and what the pipeline reads without a loss."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout
from PIL import Image
from support.cutouts import OBJECT_HEIGHT, composition_in, draw_depth, write_world
from support.settings import copy_params
from support.toy import TOY_SIZE, draw_background
from support.waiting import is_anybody_left, wait_until

from maskdepth.data.preview import explain_archives
from maskdepth.data.samples import read_index
from maskdepth.making.composing.compose import compose
from maskdepth.making.composing.composition import Composition, plan_composition
from maskdepth.making.labelling.sources import check_sizes, read_sources
from stages import index, unzip

ROOT = Path(__file__).parents[3]
LAYOUTS = ("sudhakarmlal", "mshilpaa", "deepjyotisaha85", "sajnanshetty", "sumankanukollu")


@pytest.fixture
def world(tmp_path: Path) -> Composition:
    return write_world(tmp_path)


def digests(out: Path) -> dict[str, str]:
    """Hash every file but the lock."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "lock")
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def placements(out: Path) -> list[dict[str, Any]]:
    with (out / ".compose" / "manifest.csv").open(newline="") as file:
        return [
            {name: value if name in {"composite", "plane"} else int(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def read_triple(out: Path, composite: str) -> list[np.ndarray]:
    """Composite, mask and depth of a placement, sudhakarmlal."""
    archive, _, member = composite.partition("/")
    ids = member.removeprefix("fg_bg_jpg/fg_bg_")
    names = (member, f"mask_black_jpg/bg_mask_{ids}", f"depth_fg_bg_jpg/depth_fg_bg_{ids}")
    with zipfile.ZipFile(out / archive) as opened:
        return [np.asarray(Image.open(io.BytesIO(opened.read(name)))) for name in names]


def alpha_of(world: Composition, row: dict[str, Any]) -> np.ndarray:
    alpha = np.asarray(Image.open(world.foregrounds / f"fg{row['foreground']}.png"))[..., 3]
    return alpha[:, ::-1] if row["flip"] else alpha


def test_the_closing_line_says_what_was_made(world: Composition, capsys: pytest.CaptureFixture[str]) -> None:
    content = compose(world, workers=1)
    line = capsys.readouterr().out
    assert line.startswith("compose: 36 composites of 2 objects on 3 backgrounds in 2 archives, ")
    assert line.endswith(" s\n") and "depth" not in line
    assert content == json.loads((world.out / ".compose" / "manifest.json").read_text())
    assert content["settings"]["seed"] == 0 and content["finished"] is True
    assert content["archives"] == ["batch1_images.zip", "batch2_images.zip"]
    assert [entry["file"] for entry in content["depths"]] == ["bg1.png", "bg2.png", "bg3.png"]


@pytest.mark.parametrize("rule", ["uniform", "ground"])
def test_mask_is_the_alpha_where_it_was_placed_and_outside_it_nothing_changes(world: Composition, rule: str) -> None:
    world = replace(world, rule=rule)
    compose(world, workers=1)
    rows = placements(world.out)
    assert len(rows) == 2 * 3 * 3 * 2
    for row in rows:
        composite, mask, depth = read_triple(world.out, row["composite"])
        box = np.s_[row["top"] : row["top"] + row["height"], row["left"] : row["left"] + row["width"]]
        if row["height"] == OBJECT_HEIGHT:
            np.testing.assert_array_equal(mask[box], alpha_of(world, row))
        assert mask.shape == (TOY_SIZE, TOY_SIZE) and np.count_nonzero(mask) == np.count_nonzero(mask[box]) > 0
        outside = mask == 0
        np.testing.assert_array_equal(composite[outside], draw_background(row["background"])[outside])
        np.testing.assert_array_equal(depth[outside], draw_depth(row["background"])[outside])
        nearer = depth[mask == 255].astype(int) - round(255 * float(row["plane"]))
        assert (abs(nearer) <= 1).all()


def test_the_depth_of_each_background_lies_beside_it_where_it_is_known(world: Composition, tmp_path: Path) -> None:
    compose(world, workers=1)
    for archive in ("batch1_images.zip", "batch2_images.zip"):
        with zipfile.ZipFile(world.out / archive) as opened:
            for number in (1, 2, 3):
                depth = Image.open(io.BytesIO(opened.read(f"depth_bg_jpg/depth_bg_img_{number}.png")))
                np.testing.assert_array_equal(np.asarray(depth), draw_depth(number))
    compose(replace(world, depths=None, out=tmp_path / "unlabelled"), workers=1)
    with zipfile.ZipFile(tmp_path / "unlabelled" / "batch1_images.zip") as opened:
        assert not any("depth" in name for name in opened.namelist())


@pytest.mark.parametrize(("mirror", "shared"), [("same", 18), ("independent", 0)])
def test_mirrored_objects_share_the_place_of_their_plain_ones_or_do_not(
    world: Composition, mirror: str, shared: int
) -> None:
    compose(replace(world, mirror=mirror), workers=1)
    rows = placements(world.out)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    places = [[(row["flip"], row["left"], row["top"]) for row in pair] for pair in pairs]
    assert all((plain[0], mirrored[0]) == (0, 1) for plain, mirrored in places)
    assert sum(plain[1:] == mirrored[1:] for plain, mirrored in places) == shared


def test_without_mirrored_ones_the_plain_ones_stay_where_they_are(world: Composition, tmp_path: Path) -> None:
    compose(world, workers=1)
    plain = [row for row in placements(world.out) if row["flip"] == 0]
    compose(replace(world, out=tmp_path / "plain", mirror="none"), workers=1)
    assert placements(tmp_path / "plain") == plain


def test_same_seed_makes_the_same_bytes_for_one_and_two_workers(world: Composition, tmp_path: Path) -> None:
    compose(world, workers=1)
    compose(replace(world, out=tmp_path / "two"), workers=2)
    assert digests(world.out) == digests(tmp_path / "two")
    compose(replace(world, out=tmp_path / "other", seed=1), workers=1)
    assert placements(tmp_path / "other") != placements(world.out)


def test_an_interrupted_run_redoes_the_unfinished_archive_alone(world: Composition) -> None:
    compose(world, workers=1)
    whole = digests(world.out)
    state = world.out / ".compose"
    for path in (world.out / "batch2_images.zip", state / "manifest.csv", state / "placements" / "2.csv"):
        path.unlink()
    (state / "partial").mkdir()
    (state / "partial" / "batch2_images.zip").write_bytes(b"half")
    (state / "placements" / ".partial-2.csv").write_text("half")
    finished = (world.out / "batch1_images.zip").stat().st_mtime_ns
    compose(world, workers=1)
    assert digests(world.out) == whole
    assert (world.out / "batch1_images.zip").stat().st_mtime_ns == finished


@pytest.mark.parametrize("name", ["batch1_images.zip", ".compose/placements/1.csv"])
def test_whatever_is_missing_is_made_again(world: Composition, name: str) -> None:
    compose(world, workers=1)
    whole = digests(world.out)
    (world.out / name).unlink()
    compose(world, workers=1)
    assert digests(world.out) == whole


def test_a_finished_composition_is_left_as_it_is(world: Composition) -> None:
    compose(world, workers=1)
    before = {path: path.stat().st_mtime_ns for path in world.out.glob("*.zip")}
    compose(world, workers=1)
    assert {path: path.stat().st_mtime_ns for path in world.out.glob("*.zip")} == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_pipeline_reads_every_composite_and_rejects_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    mirror = "none" if layout == "sumankanukollu" else "independent"
    world = replace(write_world(tmp_path), layout=layout, mirror=mirror, quality=95, mask_quality=60)
    compose(world, workers=1)
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    index.main(
        Path("arrays"), Path("index.csv"), Path("rejected.csv"), Path("registered"), Path("journals/index.jsonl")
    )
    assert f"layout {layout}\n" in capsys.readouterr().out
    ids = ["foreground", "background", "flip", "placement"]
    found = set(read_index(Path("index.csv"))[ids].itertuples(index=False, name=None))
    assert found == {tuple(row[name] for name in ids) for row in placements(world.out)}
    assert len(found) == (18 if mirror == "none" else 36)
    assert Path("rejected.csv").read_text().count("\n") == 1


def test_without_depth_the_table_for_labelling_names_pictures_in_the_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = write_world(tmp_path, depths=False)
    compose(world, workers=1)
    command = f"maskdepth label-depth {world.out}/.label-depth.csv --layout {world.layout} --out {world.out}/labels"
    assert f"no depth yet: `{command}` makes it" in capsys.readouterr().out
    for archive in world.out.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            assert not [name for name in opened.namelist() if "depth" in name]
    sources = read_sources(world.out / ".label-depth.csv")
    check_sizes(sources)
    assert len(sources) == 36 and all(source.is_paired for source in sources)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_beside_the_archives_make_them_whole(layout: str, tmp_path: Path) -> None:
    world = replace(write_world(tmp_path, depths=False), layout=layout, mirror="none", placements=2)
    compose(world, workers=1)
    for source in read_sources(world.out / ".label-depth.csv", layout):
        label = world.out / "labels" / source.label
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_depth(1)).save(label, "PNG")
    assert "samples: 12 of 12 composites" in "\n".join(explain_archives(world.out, "auto").lines)


def test_many_composites_are_dealt_into_more_archives() -> None:
    plan = plan_composition(replace(composition_in(Path()), placements=20), backgrounds=100, foregrounds=100)
    assert plan.totals.number == 400_000 and len(plan.batches) == 10
    assert {plan.count_of(batch) for batch in plan.batches} == {40_000}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "nobody"}, "layout is 'nobody'; known: deepjyotisaha85, mshilpaa"),
        ({"mirror": "yes"}, "mirror is 'yes'; known: none, same, independent"),
        ({"rule": "floating"}, "rule is 'floating'; known: uniform, ground"),
        ({"size": 31}, "size is 31; expected 32 or more"),
        ({"placements": 0}, "placements is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"mask_quality": 101}, "mask_quality is 101; expected a JPEG quality of 1 to 100, or 0 for PNG"),
        ({"object_size": float("inf")}, "object_size is inf; expected a share of up to 1, or pixels"),
        ({"object_size": 33}, "object_size 33 makes objects 33 px tall on pictures of 32 px; expected 4 to 32 px"),
        ({"object_size": 0.1}, "object_size 0.1 makes objects 3 px tall on pictures of 32 px"),
        ({"object_size": 0.9}, "fg2.png: its object would be 51 x 29 px on pictures of 32 x 32 px; make objects at mo"),
        ({"layout": "sajnanshetty", "placements": 21}, "21 placements are more than the 20 that the numbers of layout"),
        ({"layout": "sumankanukollu"}, "layout sumankanukollu has no names for the depth of mirrored objects"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(world: Composition, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose(replace(world, **change), workers=1)
    assert not list(world.out.glob("[!.]*"))


def test_more_objects_than_a_layout_numbers_are_refused() -> None:
    composition = replace(composition_in(Path()), layout="mshilpaa")
    with pytest.raises(ValueError, match="101 foregrounds are more than the 100 that the numbers of layout mshilpaa"):
        plan_composition(composition, backgrounds=1, foregrounds=101)


def test_workers_are_one_or_more(world: Composition) -> None:
    with pytest.raises(ValueError, match="workers is 0; expected 1 or more"):
        compose(world, workers=0)


@pytest.mark.parametrize("name", ["foregrounds", "backgrounds", "depths"])
def test_a_folder_without_pictures_is_named(world: Composition, name: str) -> None:
    folder = getattr(world, name)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=rf"{name} is not a folder; name a folder of pictures"):
        compose(world, workers=1)
    folder.mkdir()
    with pytest.raises(ValueError, match=rf"{name} has no pictures; expected files in .jpeg, .jpg, .png"):
        compose(world, workers=1)


def test_a_background_without_its_one_depth_map_is_named(world: Composition) -> None:
    shutil.copy(world.depths / "bg1.png", world.depths / "bg1.jpg")
    with pytest.raises(ValueError, match=r"bg1\.\w+ and .*bg1\.\w+ differ in their suffix only; keep one"):
        compose(world, workers=1)
    for path in world.depths.glob("bg1.*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"backgrounds/bg1\.png has no depth map; expected .*depths/bg1\.png"):
        compose(world, workers=1)


def test_unfit_pictures_are_told_before_any_archive_is_begun(world: Composition) -> None:
    Image.new("RGB", (8, 8)).save(world.foregrounds / "fg3.png")
    (world.backgrounds / "bg2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"fg3\.png: it has no alpha .* \(and 1 more of 6 pictures\)$"):
        compose(world, workers=1)
    assert sorted(path.name for path in world.out.rglob("*")) == [".compose", "lock", "manifest.json"]


def test_another_composition_is_not_mixed_in(world: Composition) -> None:
    compose(world, workers=1)
    before = digests(world.out)
    with pytest.raises(ValueError, match="holds another composition: seed 0 there and 7 here; name a new folder"):
        compose(replace(world, seed=7), workers=1)
    Image.new("RGB", (40, 40)).save(world.backgrounds / "bg2.png")
    with pytest.raises(ValueError, match=r"composition: background 2 bg2\.png \(SHA-256 \w{8}\.\.\.\) there and bg2"):
        compose(world, workers=1)
    assert digests(world.out) == before


def test_settings_may_change_until_something_is_made(world: Composition, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make objects at most"):
        compose(replace(world, object_size=0.9), workers=1)
    compose(world, workers=1)
    for path in world.out.glob("*.zip"):
        path.unlink()
    compose(replace(world, seed=1), workers=1)
    compose(replace(world, seed=1, out=tmp_path / "fresh"), workers=1)
    assert digests(world.out) == digests(tmp_path / "fresh")


def test_a_folder_with_something_else_in_it_is_left_alone(world: Composition) -> None:
    world.out.mkdir()
    (world.out / "mine.jpg").write_text("precious")
    with pytest.raises(ValueError, match=r"raw is not empty \(it has mine.jpg\); name a new folder, or empty this one"):
        compose(world, workers=1)


def test_a_manifest_that_cannot_be_read_is_named(world: Composition) -> None:
    (world.out / ".compose").mkdir(parents=True)
    (world.out / ".compose" / "manifest.json").write_text('{"settings": 1}')
    (world.out / "batch1_images.zip").touch()
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read: .*; name a new folder, or remove this one"):
        compose(world, workers=1)


def test_output_that_cannot_be_written_is_named(world: Composition) -> None:
    with pytest.raises(ValueError, match=r"cannot write to /proc/raw.*; choose another folder"):
        compose(replace(world, out=Path("/proc/raw")), workers=1)
    world.out.write_text("a file")
    with pytest.raises(ValueError, match=r"cannot write to .*raw.*: .*; choose another folder"):
        compose(world, workers=1)
    with pytest.raises(
        ValueError, match=r"the archives would lie among the pictures of .*backgrounds; choose a folder"
    ):
        compose(replace(world, out=world.backgrounds / "raw"), workers=1)


def test_two_runs_do_not_meet_in_one_folder(world: Composition) -> None:
    (world.out / ".compose").mkdir(parents=True)
    with FileLock(world.out / ".compose" / "lock"), pytest.raises(Timeout):
        compose(world, workers=1)


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
from support.cutouts import composition_in
from maskdepth.making.composing.compose import compose

if __name__ == "__main__":
    compose(replace(composition_in(Path(sys.argv[1]), depths=True), placements=int(sys.argv[2])), workers=2)
"""


@pytest.mark.nightly
def test_a_killed_run_leaves_no_process_and_the_next_one_makes_the_same_bytes(
    world: Composition, tmp_path: Path
) -> None:
    world = replace(world, placements=400)
    (tmp_path / "killed.py").write_text(KILLED)
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), "400"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, start_new_session=True)
    first = world.out / "batch1_images.zip"
    wait_until((world.out / ".compose" / "placements" / "1.csv").exists)  # comes last of an archive
    process.kill()
    process.wait()
    assert not (world.out / "batch2_images.zip").exists()
    wait_until(lambda: not is_anybody_left(process.pid))
    finished = first.stat().st_mtime_ns
    compose(world, workers=1)
    assert first.stat().st_mtime_ns == finished
    compose(replace(world, out=tmp_path / "whole"), workers=1)
    assert digests(world.out) == digests(tmp_path / "whole")
