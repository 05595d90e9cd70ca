"""Proves that what was drawn is what the arrays hold, whoever decodes it, and that only what changed is decoded."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plotted import draw_levels, plot_small_page
from toy import OBJECT_DEPTH, TOY_SIZE, ToyWorld, draw_background, encode_png, write_toy_archive, write_zip

from maskdepth.data import shards
from maskdepth.data.archives import find_archives
from maskdepth.data.arrays import CARD_FILE, MEMBERS_FILE, Arrays, read_arrays
from maskdepth.data.layouts import Layout, read_layouts
from maskdepth.data.shards import ShardPlan, is_current, plan_refused, plan_shard, remove_stale, write_shards
from maskdepth.data.zips import RefusedError
from maskdepth.params import DataParams

SUDHAKARMLAL = read_layouts()["sudhakarmlal"]
PARAMS = DataParams(layout="auto", image_size=TOY_SIZE, depth_near="dark", depth_frame="refuse", max_rejected=0.0)


def plan_all(raw: Path, layout: Layout = SUDHAKARMLAL, params: DataParams = PARAMS) -> list[ShardPlan]:
    return [plan_shard(archive, archive.members(), layout, params) for archive in find_archives(raw)]


def write_all(raw: Path, arrays_dir: Path, layout: Layout = SUDHAKARMLAL, workers: int = 1) -> Arrays:
    arrays_dir.mkdir(exist_ok=True)
    for _ in write_shards(arrays_dir, plan_all(raw, layout), workers):
        pass
    return read_arrays(arrays_dir)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_holds(arrays: Arrays, world: ToyWorld) -> None:
    """Every drawn sample is there, pixel by pixel, found by the ids of its composite's name."""
    members = arrays.members
    for sample in world.samples:
        ids = {"foreground": sample.foreground, "background": sample.background}
        ids |= {"flip": sample.flip, "placement": sample.placement}
        named = members[(members[list(ids)] == pd.Series(ids).astype(str)).all(axis=1)].set_index("kind")
        rows = {kind: named.loc[kind, ["global_row"]].to_numpy(int) for kind in ("composite", "mask", "depth")}
        assert np.array_equal(arrays.composite.take(rows["composite"])[0], sample.composite)
        assert np.array_equal(arrays.mask.take(rows["mask"])[0], sample.mask)
        assert np.array_equal(arrays.depth.take(rows["depth"])[0], sample.depth)
    for number, picture in world.backgrounds.items():
        row = members.query(f"kind == 'background' and background == '{number}'")["global_row"].to_numpy()
        assert np.array_equal(arrays.background.take(row)[0], picture)


def test_what_was_drawn_is_what_the_arrays_hold(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path / "raw")
    arrays = write_all(tmp_path / "raw", tmp_path / "arrays")
    assert len(world.samples) == len(arrays.composite) == 24
    assert_holds(arrays, world)
    decoded = arrays.members[arrays.members["global_row"] >= 0]
    assert (decoded[["width", "height"]] == TOY_SIZE).all(axis=None)
    assert (decoded["reason"] == "").all()
    assert not list((tmp_path / "arrays").glob(".partial-*"))


def test_near_is_zero_whichever_end_of_the_grey_scale_it_had(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    bright = PARAMS.model_copy(update={"depth_near": "bright"})
    dark = write_all(tmp_path / "raw", tmp_path / "dark")
    (tmp_path / "bright").mkdir()
    list(write_shards(tmp_path / "bright", plan_all(tmp_path / "raw", params=bright), 1))
    turned = read_arrays(tmp_path / "bright")
    rows = np.arange(len(dark.depth))
    assert dark.depth.take(rows)[dark.mask.take(rows) == 1].max() == OBJECT_DEPTH
    assert np.array_equal(turned.depth.take(rows), 255 - dark.depth.take(rows))


def test_labels_are_kept_as_they_are(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path / "raw", "mshilpaa", "Dataset/data_part1.zip")
    arrays = write_all(tmp_path / "raw", tmp_path / "arrays", read_layouts()["mshilpaa"])
    assert len(arrays.labels) == len(world.samples)
    assert arrays.labels.iloc[0].tolist()[:3] == ["Background/bg1.jpg", "Foreground/fg1.png", "data_1/Fg-Bg/fg-bg1.jpg"]
    assert len(arrays.background) == 3
    assert (arrays.members["reason"] == "").all()


def test_bad_labels_are_a_rejected_member(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw", "mshilpaa")
    (tmp_path / "raw" / "labels.txt").write_text("a,b\n")
    arrays = write_all(tmp_path / "raw", tmp_path / "arrays", read_layouts()["mshilpaa"])
    (reason,) = arrays.members.query("kind == 'labels'")["reason"]
    assert reason.startswith("not the labels of this layout: line 1 has 1 values")


def test_a_bad_picture_is_a_rejected_member_and_harms_no_other(tmp_path: Path) -> None:
    good = encode_png(draw_background(1))
    members = [(f"bg_jpg/bg_img_{number}.jpg", good) for number in range(1, 4)]
    members[1] = (members[1][0], good[:-30])
    write_zip(tmp_path / "raw" / "a.zip", [*members, ("bg_jpg/note.txt", b"x"), ("inner.zip", b"x")])
    table = write_all(tmp_path / "raw", tmp_path / "arrays").members.set_index("member")
    assert table["row"].tolist() == [0, -1, 2, -1, -1]
    assert table["kind"].tolist() == ["background"] * 3 + ["unknown"] * 2
    assert table.loc["bg_jpg/bg_img_2.jpg", "reason"].startswith("it cannot be decoded")
    assert table.loc["bg_jpg/note.txt", "reason"] == "its name fits no pattern of layout sudhakarmlal"
    assert table.loc["inner.zip", "reason"] == "only zip archives are opened, and none within another"
    assert (table["cure"] != "").tolist() == (table["reason"] != "").tolist()


def test_pages_are_rejected_members_or_cropped_as_params_say(tmp_path: Path) -> None:
    page = plot_small_page(draw_levels(112))
    write_zip(tmp_path / "raw" / "a.zip", [("depth_fg_bg_jpg/depth_fg_bg_1_1_0_1.jpg", page)])
    rows = []
    for depth_frame in ("refuse", "crop"):
        params = PARAMS.model_copy(update={"depth_frame": depth_frame})
        (tmp_path / depth_frame).mkdir()
        list(write_shards(tmp_path / depth_frame, plan_all(tmp_path / "raw", params=params), 1))
        rows += read_arrays(tmp_path / depth_frame).members.to_dict("records")
    refused, cropped = rows
    assert (refused["row"], refused["cure"]) == (-1, "set data.depth_frame to crop; or to keep, if it is none")
    assert (cropped["row"], cropped["reason"], cropped["width"], cropped["height"]) == (0, "", 172, 172)


def test_a_refused_archive_is_a_row_without_a_member(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    (archive,) = find_archives(tmp_path / "raw")
    plan = plan_refused(archive, RefusedError("the file is empty", "download it again"), SUDHAKARMLAL, PARAMS)
    list(write_shards(tmp_path, [plan], 1))
    (row,) = read_arrays(tmp_path).members.to_dict("records")
    assert [row[name] for name in ("kind", "member", "archive")] == ["unknown", "", "batch1_images.zip"]
    assert (row["reason"], row["cure"]) == ("the file is empty", "download it again")


def test_the_key_follows_archive_and_settings(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (same,) = plan_all(tmp_path / "raw")
    assert is_current(tmp_path / "arrays", same)
    for change in ({"image_size": 16}, {"depth_near": "bright"}, {"depth_frame": "crop"}):
        (other,) = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update=change))
        assert not is_current(tmp_path / "arrays", other)
    (other_limit,) = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update={"max_rejected": 0.5}))
    assert is_current(tmp_path / "arrays", other_limit)
    (other_layout,) = plan_all(tmp_path / "raw", read_layouts()["mshilpaa"])
    assert not is_current(tmp_path / "arrays", other_layout)
    write_toy_archive(tmp_path / "raw", foregrounds=(1, 3))
    (other_archive,) = plan_all(tmp_path / "raw")
    assert not is_current(tmp_path / "arrays", other_archive)


@pytest.mark.parametrize("name", [CARD_FILE, "mask.npy", MEMBERS_FILE])
def test_a_shard_that_somebody_touched_is_not_kept(name: str, tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (plan,) = plan_all(tmp_path / "raw")
    path = tmp_path / "arrays" / "batch1_images" / name
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert not is_current(tmp_path / "arrays", plan)
    path.unlink()
    assert not is_current(tmp_path / "arrays", plan)


def test_shards_of_gone_archives_and_interrupted_runs_are_removed(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw", name="a.zip")
    write_toy_archive(tmp_path / "raw", name="b.zip")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (tmp_path / "raw" / "b.zip").unlink()
    (tmp_path / "arrays" / ".partial-c").mkdir()
    (tmp_path / "arrays" / "not-ours").mkdir()
    remove_stale(tmp_path / "arrays", plan_all(tmp_path / "raw"))
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == ["a", "not-ours"]


def test_a_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_archive(tmp_path / "raw")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(OSError, match=r"needs .* GB, .* GB are free") as caught:
        write_all(tmp_path / "raw", tmp_path / "arrays")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw", backgrounds=range(1, 45), foregrounds=range(1, 5), placements=(1,))
    write_all(tmp_path / "raw", tmp_path / "one")
    write_all(tmp_path / "raw", tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


KILLED = """
import sys
from pathlib import Path
from maskdepth.data.archives import find_archives
from maskdepth.data.layouts import read_layouts
from maskdepth.data.shards import plan_shard, write_shards
from maskdepth.params import DataParams

if __name__ == "__main__":
    params = DataParams(layout="auto", image_size=32, depth_near="dark", depth_frame="refuse", max_rejected=0.0)
    (archive,) = find_archives(Path(sys.argv[1]))
    plan = plan_shard(archive, archive.members(), read_layouts()["sudhakarmlal"], params)
    for done, _ in enumerate(write_shards(Path(sys.argv[2]), [plan], 2)):
        print(done, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_the_next_one_is_complete(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path / "raw", backgrounds=range(1, 45), foregrounds=range(1, 5), placements=(1,))
    arrays_dir = tmp_path / "arrays"
    arrays_dir.mkdir()
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "raw"), str(arrays_dir)]
    source = str(Path(shards.__file__).parents[2])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": source}, start_new_session=True
    )
    assert process.stdout
    process.stdout.readline()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)  # sends nothing, and finds whether anybody is left
            time.sleep(0.05)
    process.stdout.close()
    assert [path.name for path in arrays_dir.iterdir()] == [".partial-batch1_images"]
    remove_stale(arrays_dir, plan_all(tmp_path / "raw"))
    assert_holds(write_all(tmp_path / "raw", arrays_dir), world)
