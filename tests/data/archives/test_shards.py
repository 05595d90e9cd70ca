"""Proves that what was drawn is what the arrays hold, whoever decodes it, and that only what changed is decoded."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import planned
from support.member_tables import read_member_table
from support.plotted import draw_levels, plot_small_page
from support.settings import SHIPPED_PARAMS
from support.toy import OBJECT_DEPTH, TOY_SIZE, ToyWorld, draw_background, encode_png, write_toy_archive, write_zip
from support.waiting import is_anybody_left, wait_until

from maskdepth.data.archives import shards
from maskdepth.data.archives.archive import find_archives
from maskdepth.data.archives.members import MEMBERS_FILE, read_members
from maskdepth.data.archives.planning import ShardPlan, plan_shard
from maskdepth.data.archives.shards import is_current, remove_stale, update_size, write_shards
from maskdepth.data.arrays.arrays import CARD_FILE, Arrays, read_arrays
from maskdepth.data.layouts.layout import Layout, read_layouts
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import DataParams, load_params
from maskdepth.process.command import NO_RESOURCE, guard

SUDHAKARMLAL = read_layouts()["sudhakarmlal"]
PARAMS = load_params(SHIPPED_PARAMS).data.model_copy(update={"image_size": TOY_SIZE})


def plan_all(raw: Path, layout: Layout = SUDHAKARMLAL, params: DataParams = PARAMS) -> list[ShardPlan]:
    return planned.plan_all(raw, layout, params)


def write_all(raw: Path, arrays_dir: Path, layout: Layout = SUDHAKARMLAL, workers: int = 1) -> Arrays:
    arrays_dir.mkdir(exist_ok=True)
    for _ in write_shards(arrays_dir, plan_all(raw, layout), workers):
        pass
    return read_arrays(arrays_dir)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_holds(arrays_dir: Path, world: ToyWorld) -> None:
    """Every drawn sample is there, pixel by pixel, found by the ids of its composite's name."""
    arrays, members = read_arrays(arrays_dir), read_member_table(arrays_dir)
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
    assert_holds(tmp_path / "arrays", world)
    members = read_member_table(tmp_path / "arrays")
    decoded = members[members["global_row"] >= 0]
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
    members = read_members(tmp_path / "arrays")
    assert len(members.labels) == len(world.samples)
    first = members.labels.iloc[0].tolist()
    assert first[:3] == ["Background/bg1.jpg", "Foreground/fg1.png", "data_1/Fg-Bg/fg-bg1.jpg"]
    assert len(arrays.background) == 3
    assert members.rejected.empty


def test_bad_labels_are_a_rejected_member(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw", "mshilpaa")
    (tmp_path / "raw" / "labels.txt").write_text("a,b\n")
    write_all(tmp_path / "raw", tmp_path / "arrays", read_layouts()["mshilpaa"])
    (reason,) = read_member_table(tmp_path / "arrays").query("kind == 'labels'")["reason"]
    assert reason.startswith("not the labels of this layout: line 1 has 1 values")


def test_a_bad_picture_is_a_rejected_member_and_harms_no_other(tmp_path: Path) -> None:
    good = encode_png(draw_background(1))
    members = [(f"bg_jpg/bg_img_{number}.jpg", good) for number in range(1, 4)]
    members[1] = (members[1][0], good[:-30])
    write_zip(tmp_path / "raw" / "a.zip", [*members, ("bg_jpg/note.txt", b"x"), ("inner.zip", b"x")])
    write_all(tmp_path / "raw", tmp_path / "arrays")
    table = read_member_table(tmp_path / "arrays").set_index("member")
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
        rows += read_member_table(tmp_path / depth_frame).to_dict("records")
    refused, cropped = rows
    assert (refused["row"], refused["cure"]) == (-1, "set data.depth_frame to crop; or to keep, if it is none")
    assert (cropped["row"], cropped["reason"], cropped["width"], cropped["height"]) == (0, "", 172, 172)


def test_a_refused_archive_is_a_row_without_a_member(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    (archive,) = find_archives(tmp_path / "raw")
    plan = plan_shard(archive, RefusedError("the file is empty", "download it again"), SUDHAKARMLAL, PARAMS, "code")
    list(write_shards(tmp_path, [plan], 1))
    (row,) = read_member_table(tmp_path).to_dict("records")
    assert [row[name] for name in ("kind", "member", "archive")] == ["unknown", "", "batch1_images.zip"]
    assert (row["reason"], row["cure"]) == ("the file is empty", "download it again")


def test_the_key_follows_archive_and_settings(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (same,) = plan_all(tmp_path / "raw")
    assert is_current(tmp_path / "arrays", same)
    for change in ({"image_size": 16}, {"depth_near": "bright"}, {"depth_frame": "crop"}, {"store": "encoded"}):
        (other,) = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update=change))
        assert not is_current(tmp_path / "arrays", other)
    (other_limit,) = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update={"max_rejected": 0.5}))
    assert is_current(tmp_path / "arrays", other_limit)
    (other_layout,) = plan_all(tmp_path / "raw", read_layouts()["mshilpaa"])
    assert not is_current(tmp_path / "arrays", other_layout)
    write_toy_archive(tmp_path / "raw", foregrounds=(1, 3))
    (other_archive,) = plan_all(tmp_path / "raw")
    assert not is_current(tmp_path / "arrays", other_archive)


KINDS = ("background", "composite", "mask", "depth")
ENCODED = PARAMS.model_copy(update={"store": "encoded"})


def write_both(raw: Path, folder: Path) -> tuple[Arrays, Arrays]:
    """Write the same archives as pixels, and as they are encoded."""
    both = []
    for params in (PARAMS, ENCODED):
        arrays_dir = folder / params.store
        arrays_dir.mkdir()
        list(write_shards(arrays_dir, plan_all(raw, params=params), 1))
        both.append(read_arrays(arrays_dir))
    return both[0], both[1]


def test_both_stores_hold_the_same_pictures_and_reject_the_same(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path / "raw")
    good = encode_png(draw_background(1))
    names = [f"bg_jpg/bg_img_{number}.jpg" for number in range(4, 8)]
    write_zip(tmp_path / "raw" / "b.zip", zip(names, [good[:-30], good, b"", good], strict=True))
    write_zip(tmp_path / "raw" / "c.zip", [("bg_jpg/bg_img_9.jpg", b"no picture"), ("note.txt", b"x")])
    pixels, encoded = write_both(tmp_path / "raw", tmp_path)
    table, same = (read_member_table(tmp_path / store) for store in ("pixels", "encoded"))
    pd.testing.assert_frame_equal(table, same)
    assert (table["reason"] != "").sum() == 4
    for kind in KINDS:
        rows = np.arange(len(getattr(pixels, kind)))
        assert np.array_equal(getattr(pixels, kind).take(rows), getattr(encoded, kind).take(rows))
    assert_holds(tmp_path / "encoded", world)


def test_encoded_pictures_are_the_bytes_of_their_members(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_both(tmp_path / "raw", tmp_path)
    (archive,) = find_archives(tmp_path / "raw")
    with archive.opened([]) as read:
        masks = [read(member) for member in archive.members() if "mask" in member.name]
    shard = tmp_path / "encoded" / "batch1_images"
    assert (shard / "mask.bin").read_bytes() == b"".join(masks)
    assert np.load(shard / "mask.spans.npy")[:, 1].tolist() == [len(mask) for mask in masks]
    assert not (shard / "mask.npy").exists()


def test_encoded_pictures_do_not_depend_on_the_size_that_they_are_decoded_to(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_both(tmp_path / "raw", tmp_path)
    other = {"image_size": TOY_SIZE // 2}
    (larger,), (smaller,) = (
        plan_all(tmp_path / "raw", params=params.model_copy(update=other)) for params in (PARAMS, ENCODED)
    )
    assert not is_current(tmp_path / "pixels", larger)
    assert is_current(tmp_path / "encoded", smaller)
    update_size(tmp_path / "encoded", smaller)
    assert read_arrays(tmp_path / "encoded").composite.shape == (24, TOY_SIZE // 2, TOY_SIZE // 2, 3)
    assert is_current(tmp_path / "encoded", smaller)


def test_what_is_too_large_is_said_by_the_settings(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    small = PARAMS.model_copy(update={"max_pixels": TOY_SIZE**2 - 1})
    list(write_shards(tmp_path, plan_all(tmp_path / "raw", params=small), 1))
    reasons = read_member_table(tmp_path).query("kind == 'mask'")["reason"].unique().tolist()
    assert reasons == ["it has 32 x 32 pixels, over 1,023 in all"]


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


@pytest.mark.parametrize("text", ["null", "{}", "[]", "7", None])
def test_a_shard_whose_card_was_edited_is_not_kept(text: str | None, tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (plan,) = plan_all(tmp_path / "raw")
    path = tmp_path / "arrays" / "batch1_images" / CARD_FILE
    card = json.loads(path.read_text())
    for name in card if text is None else [""]:
        path.write_text(text or json.dumps({key: value for key, value in card.items() if key != name}))
        assert not is_current(tmp_path / "arrays", plan), name


def test_shards_of_gone_archives_and_interrupted_runs_are_removed(tmp_path: Path) -> None:
    write_toy_archive(tmp_path / "raw", name="a.zip")
    write_toy_archive(tmp_path / "raw", name="b.zip")
    write_all(tmp_path / "raw", tmp_path / "arrays")
    (tmp_path / "raw" / "b.zip").unlink()
    (tmp_path / "arrays" / ".partial-c").mkdir()
    (tmp_path / "arrays" / "not-ours").mkdir()
    remove_stale(tmp_path / "arrays", find_archives(tmp_path / "raw"))
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == ["a", "not-ours"]


def test_a_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_archive(tmp_path / "raw")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(OSError, match=r"needs .* GB, .* GB are free") as caught:
        write_all(tmp_path / "raw", tmp_path / "arrays")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, store: str) -> None:
    write_toy_archive(tmp_path / "raw")
    plans = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update={"store": store}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*batch1_images/background\.(npy|bin)'"):
            list(write_shards(tmp_path, plans, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_what_is_given_up_leaves_the_complete_shards_alone(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_toy_archive(tmp_path / "raw", name=name)
    (tmp_path / "arrays").mkdir()
    plans = plan_all(tmp_path / "raw")
    writing = write_shards(tmp_path / "arrays", plans, 1)
    for _ in range(plans[0].num_pictures + 1):
        next(writing)
    expected = [".partial-b", "a"]
    wait_until(lambda: sorted(path.name for path in (tmp_path / "arrays").iterdir()) == expected)
    writing.close()
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["a"]
    assert [is_current(tmp_path / "arrays", plan) for plan in plans] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_the_number_of_workers_does_not_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr(shards, "_LITTLE_BYTES", 0)  # else one process does it all
    write_zip(tmp_path / "raw" / "empty.zip", [("note.txt", b"x")])
    for name, number in (("a.zip", 20), ("b.zip", 24)):
        write_toy_archive(tmp_path / "raw", name=name, backgrounds=range(1, number), placements=(1,))
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        plans = plan_all(tmp_path / "raw", params=PARAMS.model_copy(update={"store": store}))
        list(write_shards(tmp_path / str(workers), plans, workers))
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_an_archive_without_pictures_leaves_nothing_unfinished(tmp_path: Path) -> None:
    write_zip(tmp_path / "raw" / "a.zip", [("note.txt", b"x")])
    write_toy_archive(tmp_path / "raw", name="b.zip")
    write_zip(tmp_path / "raw" / "c.zip", [("note.txt", b"x")])
    arrays = write_all(tmp_path / "raw", tmp_path / "arrays")
    assert len(arrays.composite) == 24
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == ["a", "b", "c"]


KILLED = """
import sys
from pathlib import Path
from maskdepth.data.archives import shards
from maskdepth.data.archives.archive import find_archives
from maskdepth.data.archives.listings import write_listings
from maskdepth.data.archives.planning import plan_shard
from maskdepth.data.archives.shards import write_shards
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.params import load_params

shards._LITTLE_BYTES = 0  # else one process does it all
if __name__ == "__main__":
    params = load_params(Path(sys.argv[3])).data
    ((archive, listing),) = write_listings(find_archives(Path(sys.argv[1])), Path(sys.argv[1]).parent).items()
    plan = plan_shard(archive, listing, read_layouts()["sudhakarmlal"], params, "code")
    for done, _ in enumerate(write_shards(Path(sys.argv[2]), [plan], 2)):
        print(done, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_the_next_one_is_complete(tmp_path: Path) -> None:
    world = write_toy_archive(tmp_path / "raw", backgrounds=range(1, 45), foregrounds=range(1, 5), placements=(1,))
    arrays_dir = tmp_path / "arrays"
    arrays_dir.mkdir()
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "raw"), str(arrays_dir), str(SHIPPED_PARAMS)]
    source = str(Path(shards.__file__).parents[3])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": source}, start_new_session=True
    )
    assert process.stdout
    process.stdout.readline()
    process.kill()
    process.wait()
    wait_until(lambda: not is_anybody_left(process.pid))
    process.stdout.close()
    assert [path.name for path in arrays_dir.iterdir()] == [".partial-batch1_images"]
    remove_stale(arrays_dir, find_archives(tmp_path / "raw"))
    write_all(tmp_path / "raw", arrays_dir)
    assert_holds(arrays_dir, world)


def kill_first_child() -> None:
    while not (children := multiprocessing.active_children()):
        time.sleep(0.001)
    children[0].kill()


def test_a_killed_worker_is_told_with_what_it_was_at_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards, "_LITTLE_BYTES", 0)  # else one process does it all
    monkeypatch.setattr(shards, "_CHUNK", 4)
    write_toy_archive(tmp_path / "raw")
    (tmp_path / "arrays").mkdir()
    killer = threading.Thread(target=kill_first_child)
    killer.start()
    with pytest.raises(SystemExit) as stopped:
        guard(lambda: list(write_shards(tmp_path / "arrays", plan_all(tmp_path / "raw"), 2)))
    killer.join()
    assert stopped.value.code == NO_RESOURCE
    first, fourth = "bg_jpg/bg_img_1.jpg", "fg_bg_jpg/fg_bg_1_1_0_1.jpg"
    assert capsys.readouterr().err.endswith(
        "a worker process was killed, perhaps for lack of memory, or crashed while it was at "
        f"batch1_images.zip: {first} to {fourth}, or soon behind; run again\n"
    )
    assert list((tmp_path / "arrays").iterdir()) == []
