"""The index stage writes samples and rejected members, journals what it saw, and stops with a line when it must."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.settings import copy_params, write_places
from support.toy import (
    draw_background,
    draw_sample,
    encode_png,
    write_background_depths,
    write_toy_archive,
    write_zip,
)

from maskdepth.data.arrays.arrays import read_arrays
from maskdepth.data.samples import read_index
from maskdepth.making.drawing.sample import write_sample as draw_data_set
from maskdepth.params import update_params
from maskdepth.tracking.journal import read_journal
from stages import index, stats, unzip

ROOT = Path(__file__).parents[2]
# As the stage takes them.
PATHS = [Path(name) for name in ("arrays", "index.csv", "rejected.csv", "registered", "journals/index.jsonl")]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with params.yaml, to be in."""
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_stage():
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    index.main(*PATHS)


def test_the_last_line_and_the_journal_say_what_was_joined(workspace, capsys):
    world = write_toy_archive(workspace / "raw")
    run_stage()
    last_line = capsys.readouterr().out.splitlines()[-1]
    fits = "fitting backgrounds 100.0 %, masks 100.0 %, depths 100.0 % (explicit ids)"
    assert last_line == f"index: 24 samples from 1 archives, 0 rejected; {fits}"
    assert set(read_index(Path("index.csv"))["sample_id"]) == {sample.sample_id for sample in world.samples}
    journal = read_journal(Path("journals/index.jsonl"))
    values = {point.name: point.value for point in journal.points}
    assert (journal.status, values["samples"], values["rejected"], values["pairing_fits"]) == ("FINISHED", 24, 0, 1)
    assert journal.tags["samples_per_archive"] == '{"batch1_images.zip": 24}'
    assert [Path(artifact.path).name for artifact in journal.artifacts] == ["rejected.csv"]


def test_empty_masks_are_warned_of_and_counted_where_people_look(workspace, capsys):
    write_toy_archive(workspace / "raw")
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    (path,) = (workspace / "arrays").glob("*/mask.npy")
    masks = np.load(path)
    masks[:5], masks[7] = 0, 1
    np.save(path, masks)
    index.main(*PATHS)
    told = capsys.readouterr()
    assert "warning: 5 of 24 masks are empty; look at data/gallery.png" in told.err
    assert "warning: 1 of 24 masks are full" in told.err
    outs = Path("stats.csv"), Path("stats.json"), Path("gallery.png"), Path("journals/stats.jsonl")
    stats.main(Path("arrays"), Path("registered"), Path("index.csv"), write_places(workspace), *outs)
    assert json.loads(Path("stats.json").read_text())["mask"]["black"] == 5
    assert re.search(r"mask 0\.\d+ \(5 empty\), depth", capsys.readouterr().out)


def move_backgrounds(workspace, pixels):
    """Show them from a camera that stood beside where it stood for the composites."""
    for path in (workspace / "arrays").glob("*/background.npy"):
        np.save(path, np.roll(np.load(path), pixels, axis=2))


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_a_camera_that_moved_is_told_and_put_right(workspace, capsys, setting):
    draw_data_set(Path("raw"), "sudhakarmlal", 0, num_backgrounds=6, num_foregrounds=4, num_composites=24, size=64)
    update_params(workspace / "params.yaml", {"data.registration": setting})
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    move_backgrounds(workspace, 2)
    index.main(*PATHS)
    told = capsys.readouterr()
    assert re.search(r"warning: the backgrounds of \d+ % of the samples do not lie over their composites", told.err)
    assert re.search(r"for example moved -[12]\.\d, 0\.\d px", told.err)
    samples, straight = read_index(Path("index.csv")), read_arrays(Path("arrays"), Path("registered"))
    crooked = len(read_arrays(Path("arrays")).background)
    own = samples["background_row"].ge(crooked)
    assert own.mean() > 0.9 if setting == "auto" else not own.any()
    assert ("data.registration: auto would lay them so" in told.err) == (setting == "off")
    assert len(straight.background) == crooked + own.sum()
    journal = read_journal(Path("journals/index.jsonl"))
    values = {point.name: point.value for point in journal.points}
    assert (values["registered"], values["probes_moved"] > 0.9) == (own.sum(), True)


def test_labels_that_the_pixels_contradict_are_warned_of(workspace, capsys):
    write_toy_archive(workspace / "raw", "mshilpaa")
    labels = workspace / "raw" / "labels.txt"
    turned = {"1": "2", "2": "3", "3": "1"}
    labels.write_text(
        re.sub(r"Background/bg(\d)", lambda found: f"Background/bg{turned[found[1]]}", labels.read_text())
    )
    run_stage()
    told = capsys.readouterr()
    assert "by mapping 'labels' 0.0 %" in told.err
    assert "by mapping 'generated' 100.0 %: the last one is used" in told.err
    assert told.out.splitlines()[-1].endswith("backgrounds 100.0 %, masks 100.0 %, depths 100.0 % (generated ids)")


def shift_names(path: Path, folder: str) -> None:
    """Give every picture of a folder the name of the one before it."""
    with zipfile.ZipFile(path) as opened:
        members = [(name, opened.read(name)) for name in opened.namelist()]
    names = [name for name, _ in members if name.startswith(folder)]
    before = dict(zip(names, [*names[1:], names[0]], strict=True))
    write_zip(path, [(before.get(name, name), data) for name, data in members])


def test_masks_that_are_those_of_other_composites_stop_the_index(workspace):
    path = write_toy_archive(workspace / "raw", placements=range(1, 7)).path
    shift_names(path, "mask_black_jpg")
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    with pytest.raises(ValueError, match=r"^only \d\d\.\d % of the masks show what differs .* numbered alike$"):
        index.main(*PATHS)


def test_depths_that_are_those_of_other_composites_are_told_and_not_called_fitting(workspace, capsys):
    path = write_toy_archive(workspace / "raw", placements=range(1, 7)).path
    shift_names(path, "depth_fg_bg_jpg")
    run_stage()
    told = capsys.readouterr()
    assert re.search(
        r"warning: only \d\d\.\d % of the depth maps change where their masks are: look at data/", told.err
    )
    assert re.search(r"masks 100\.0 %, depths [1-6]\d\.\d % \(explicit ids\)\n$", told.out)


def test_the_depth_of_backgrounds_is_counted_and_what_is_missing_or_wrong_is_told(workspace, capsys):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.5})
    write_toy_archive(workspace / "raw")
    write_background_depths(workspace / "raw", (1, 2, 3))
    run_stage()
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].endswith("depths 100.0 %, background depths 100.0 % (explicit ids)")
    assert told.err == ""
    folder = workspace / "raw" / "depth_bg_jpg"
    (folder / "depth_bg_img_1.png").unlink()
    picture = np.asarray(Image.open(folder / "depth_bg_img_2.png"))
    (folder / "depth_bg_img_2.png").write_bytes(encode_png(255 - picture))
    run_stage()
    told = capsys.readouterr()
    assert (
        "warning: 2 of 3 backgrounds have no depth map, or one that was turned down (data/rejected.csv says" in told.err
    )
    assert "it has near and far the other way round: correlation -1.00" in Path("rejected.csv").read_text()
    assert len(read_index(Path("index.csv"))) == 24


def test_too_many_rejected_end_in_one_line_and_leave_the_list(workspace):
    write_toy_archive(workspace / "raw")
    (workspace / "raw" / "extra").mkdir()
    for number in range(20):
        (workspace / "raw" / "extra" / f"notes{number}.txt").write_text("not a picture")
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    paths = {name: name for name in ("arrays", "registered")} | {name: f"{name}.csv" for name in ("index", "rejected")}
    paths["journal"] = "journals/index.jsonl"
    options = [f"--{name}={path}" for name, path in paths.items()]
    command = [sys.executable, "-m", "stages.index", *options]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(r"error: .* members are rejected; data.max_rejected allows 5.0%; extra", line)
    assert not Path("index.csv").exists()
    assert len(Path("rejected.csv").read_text().splitlines()) == 21
    assert read_journal(Path("journals/index.jsonl")).status == "FAILED"


def test_an_archive_whose_name_cannot_be_shown_is_refused_and_harms_no_other(workspace, capsys):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.9})
    write_toy_archive(workspace / "raw")
    for name in (b"a\xff.zip", b"b\n\x1b[31m.zip"):
        shutil.copy(workspace / "raw" / "batch1_images.zip", workspace / "raw" / os.fsdecode(name))
    run_stage()
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("index: 24 samples from 1 archives, 2 rejected")
    assert told.err.count("\n") == told.err.count("warning: left out: ") == 2
    reason = "it has unprintable characters in its name,rename it"
    assert Path("rejected.csv").read_text() == (
        "archive,member,reason,cure\n" rf"a\udcff.zip,,{reason}" "\n" rf"b\n\x1b[31m.zip,,{reason}" "\n"
    )


def make_deep_folder(top: Path, depth: int) -> None:
    """Make folders so far down that no path leads there."""
    top.mkdir()
    handle = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("f" * 200, dir_fd=handle)
        below = os.open("f" * 200, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(os.open("a.jpg", os.O_CREAT, dir_fd=handle))
    os.close(handle)


def test_archives_with_odd_names_and_places_harm_no_other(workspace, capsys):
    """One folder is too deep to name arrays after it, one too deep for any path, and two names are no text."""
    update_params(Path("params.yaml"), {"data.max_rejected": 0.9})
    world = write_toy_archive(workspace / "raw")
    deep = workspace / "raw" / "deep" / "/".join(["g" * 200] * 3)
    write_toy_archive(deep, foregrounds=(7,))
    make_deep_folder(workspace / "raw" / "deeper", 25)
    for name in (b"\xff.zip", b"\xfe.zip"):
        shutil.copy(world.path, workspace / "raw" / os.fsdecode(name))
    run_stage()
    told = capsys.readouterr()
    assert "index: 36 samples from 2 archives, 3 rejected" in told.out
    assert told.err.count("warning: left out: ") == told.err.count("\n") == 3
    assert "cannot be listed: File name too long" in told.err


def test_archives_that_were_cut_stop_the_index_though_the_others_are_whole(workspace):
    for number in (1, 2, 3, 4):
        path = workspace / "raw" / f"batch{number}_images.zip"
        write_toy_archive(path.parent, name=path.name, foregrounds=(number,))
        if number > 1:
            path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        ValueError, match=r"^75\.0% of 4 archives are refused; data\.max_rejected allows 5\.0%; batch2_i"
    ):
        run_stage()


@pytest.mark.parametrize("layout", ["sudhakarmlal", "deepjyotisaha85"])
def test_a_number_in_digits_of_another_script_is_a_rejected_file_and_harms_no_other(workspace, layout):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.5})
    world = write_toy_archive(workspace / "raw", layout)
    names = {"sudhakarmlal": "fg_bg_jpg/fg_bg_\u0663_1_0_1.jpg", "deepjyotisaha85": "image/fg_bg_\u0661\u06629.jpg"}
    write_zip(workspace / "raw" / "odd.zip", [(names[layout], encode_png(draw_background(1)))])
    run_stage()
    assert set(read_index(Path("index.csv"))["sample_id"]) == {sample.sample_id for sample in world.samples}
    (row,) = pd.read_csv("rejected.csv").to_dict("records")
    assert (row["archive"], row["reason"]) == ("odd.zip", f"its name fits no pattern of layout {layout}")


def forge_crc(data: bytes, size: int, crc: int) -> bytes:
    """Lengthen a picture to `size` bytes so that its CRC-32 is `crc`; what stands behind a PNG nobody looks at."""
    padded = data + bytes(size - len(data) - 4)

    def crc_with(tail: int) -> int:
        return zlib.crc32(padded + tail.to_bytes(4, "little"))

    # Each bit of the last four bytes turns over the same bits of the CRC whatever the others are.
    basis = {}
    for bit in range(32):
        turned, bits = crc_with(1 << bit) ^ crc_with(0), 1 << bit
        while turned and turned.bit_length() in basis:
            other, its_bits = basis[turned.bit_length()]
            turned, bits = turned ^ other, bits ^ its_bits
        basis[turned.bit_length()] = turned, bits
    wanted, tail = crc ^ crc_with(0), 0
    while wanted:
        turned, bits = basis[wanted.bit_length()]
        wanted, tail = wanted ^ turned, tail ^ bits
    return padded + tail.to_bytes(4, "little")


def write_sample(path: Path, background: int) -> None:
    """Write composite, mask and depth of one sample."""
    sample = draw_sample(1, background, 0, 1)
    kinds = {"fg_bg_jpg/fg_bg": sample.composite, "mask_black_jpg/bg_mask": sample.mask * 255}
    kinds["depth_fg_bg_jpg/depth_fg_bg"] = sample.depth
    write_zip(path, [(f"{kind}_{sample.sample_id}.jpg", encode_png(pixels)) for kind, pixels in kinds.items()])


def test_pictures_of_one_size_and_crc_are_told_apart(workspace):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.5})
    write_toy_archive(workspace / "raw")
    sizes = [len(encode_png(draw_background(number))) for number in range(1, 20)]
    forged = [forge_crc(encode_png(draw_background(number)), max(sizes) + 4, 1234) for number in (7, 8)]
    names = [f"bg_jpg/bg_img_{number}.jpg" for number in (7, 8)]
    write_zip(workspace / "raw" / "batch2_images.zip", zip(names, forged, strict=True))
    for number in (7, 8):
        write_sample(workspace / "raw" / f"batch{number}_images.zip", number)
    for archive, data in zip(("a.zip", "b.zip"), forged, strict=True):
        write_zip(workspace / "raw" / archive, [("fg_bg_jpg/fg_bg_1_9_0_1.jpg", data)])
    run_stage()
    samples = read_index(Path("index.csv"))
    assert samples.groupby("background")[["background_row", "background_digest"]].nunique().eq(1).all(axis=None)
    assert samples["background_row"].nunique() == samples["background_digest"].nunique() == 5
    rejected = pd.read_csv("rejected.csv").set_index("archive")["reason"]
    assert rejected["a.zip"] == "the same name with other content: b.zip: fg_bg_jpg/fg_bg_1_9_0_1.jpg"
