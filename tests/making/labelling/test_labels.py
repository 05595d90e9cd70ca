"""Proves that depth labels come out the same however often their making is stopped, and that what is wrong is said."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from PIL import Image
from support.cutouts import write_world
from support.settings import copy_params
from support.toy import write_zip
from typer.testing import CliRunner

# Read once, when the libraries are imported.
os.environ["HF_HUB_OFFLINE"] = "1"

from maskdepth.cli.program import app
from maskdepth.data.files import read_colour, read_mask, read_whole
from maskdepth.data.pictures.decoding import decode_picture
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.data.preview import explain_archives
from maskdepth.data.samples import read_index
from maskdepth.making.composing.compose import compose
from maskdepth.making.labelling.labels import label_depth
from maskdepth.making.labelling.sources import read_sources
from maskdepth.making.labelling.teacher import check_licence, load_teacher, predict_distances
from maskdepth.making.layout_writer import (
    Sample,
    Totals,
    encode_picture,
    label_line,
    path_of,
    write_files,
    written_layouts,
)
from stages import index, unzip

ROOT = Path(__file__).parents[3]
HEIGHT, WIDTH = 42, 56  # [px]
pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


def save_teacher(folder, output="relative", seed=0):
    """Save a network of the default's architecture, tiny and with random weights."""
    import transformers

    torch.manual_seed(seed)
    backbone = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, patch_size=14, image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, neck_hidden_sizes=[8, 16, 16, 16], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type=output, max_depth=10,
    )  # fmt: skip
    model = transformers.DepthAnythingForDepthEstimation(config)
    for name, weight in model.named_parameters():
        if name.startswith(("neck", "head")) and weight.dim() > 1:
            torch.nn.init.xavier_uniform_(weight)  # as initialised, it hardly answers to its input
    torch.nn.init.constant_(model.head.conv3.bias, 1.0)
    model.save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture
def table(tmp_path):
    """Two backgrounds, each with three composites and their masks, and the table that pairs them."""
    folder = tmp_path / "pictures"
    lines = ["composite,background,mask"]
    for background in range(2):
        scene = np.random.default_rng(background).integers(0, 256, (6, 8, 3), np.uint8)
        scene = np.asarray(Image.fromarray(scene).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        save(folder / f"backgrounds/{background}.png", scene)
        for place in range(3):
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[10:22, 8 + 12 * place : 18 + 12 * place] = True
            names = f"composites/{background}_{place}.jpg", f"masks/{background}_{place}.png"
            save(folder / names[0], np.where(mask[..., None], np.uint8(200), scene))
            save(folder / names[1], mask.astype(np.uint8) * 255)
            lines.append(f"{names[0]},backgrounds/{background}.png,{names[1]}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(pictures, out, checkpoint, batch_size=2, allow_noncommercial=False, **options):
    return label_depth(pictures, out, checkpoint, batch_size, allow_noncommercial, CPU, **options)


def read_label(path):
    with Image.open(path) as image:
        assert image.mode == "I;16"
        return np.asarray(image, np.float64) / 65535


def pack(folder, name=None, inside=""):
    """Put the files of a folder into an archive beside it, below a folder in it, and remove the folder."""
    archive = folder.parent / (name or f"{folder.name}.zip")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    write_zip(archive, [(inside + path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths])
    shutil.rmtree(folder)
    return archive


def contents(folder):
    """Give every file's bytes by its path."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_every_composite_gets_a_label_of_its_name_and_size(table, teacher, tmp_path):
    make(table, tmp_path / "out", teacher)
    names = {f"composites/{background}_{place}.png" for background in range(2) for place in range(3)}
    assert set(contents(tmp_path / "out")) == {*names, ".provenance.json"}
    for name in names:
        label = read_label(tmp_path / "out" / name)
        assert label.shape == (HEIGHT, WIDTH)
        assert len(np.unique(label)) > 256
        assert label.max() - label.min() > 0.5


@pytest.mark.parametrize(("output", "sign"), [("relative", -1), ("metric", 1)])
def test_far_is_bright_for_inverse_and_for_metric_networks(output, sign, table, tmp_path):
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    checkpoint = save_teacher(tmp_path / "tiny", output)
    picture = table.parent / "backgrounds/0.png"
    with Image.open(picture) as image:
        inputs = AutoImageProcessor.from_pretrained(checkpoint)(images=image, return_tensors="pt")
    with torch.inference_mode():
        raw = AutoModelForDepthEstimation.from_pretrained(checkpoint)(**inputs).predicted_depth[0].numpy()
    make(picture.parent, tmp_path / "out", checkpoint)
    label = read_label(tmp_path / "out/0.png")
    assert raw.shape == label.shape  # the network's own size: nothing is resized
    assert np.corrcoef(raw.ravel(), label.ravel())[0, 1] * sign > 0.95


def test_labels_are_nearer_to_each_other_when_aligned(table, teacher, tmp_path):
    make(table, tmp_path / "aligned", teacher)
    make(table.parent / "composites", tmp_path / "alone", teacher)
    free = np.zeros((HEIGHT, WIDTH), bool)
    free[28:] = True  # below all objects

    def spread(labels):
        return np.mean([np.stack([read_label(labels / f"{b}_{p}.png")[free] for p in range(3)]).var(0) for b in (0, 1)])

    assert spread(tmp_path / "aligned/composites") < spread(tmp_path / "alone")


def test_the_provenance_tells_origin_and_checks(table, teacher, tmp_path, capsys):
    summary = make(table, tmp_path / "out", teacher)
    assert json.loads((tmp_path / "out/.provenance.json").read_text()) == summary
    origin = summary["teacher"]
    assert (origin["checkpoint"], origin["model_type"], origin["output"], origin["licence"], origin["revision"]) == (
        (teacher, "depth_anything", "relative inverse depth", "unknown", None)
    )
    assert origin["input"] == {"ensure_multiple_of": 14, "keep_aspect_ratio": True, "size": {"height": 56, "width": 56}}
    assert (summary["finished"], summary["labels"], summary["aligned"], summary["rejected"]) == (True, 6, 6, {})
    assert set(summary["variance_outside"]) == {"backgrounds/0.png", "backgrounds/1.png"}
    assert all(0 < variance < 0.05 for variance in summary["variance_outside"].values())
    assert 0.03 < summary["saturated"] < 0.3 and -1 <= summary["edge_step"] <= 1
    said = capsys.readouterr()
    assert "the licence of" in said.err
    assert "6 labels in" in said.out and "0 of them from before" in said.out


def test_a_folder_is_labelled_picture_by_picture_and_that_is_said(table, teacher, tmp_path, capsys):
    summary = make(table.parent / "composites", tmp_path / "out", teacher)
    assert (summary["labels"], summary["aligned"], summary["variance_outside"]) == (6, 0, {})
    assert "6 of 6 pictures come without background and mask" in capsys.readouterr().err


def test_pictures_of_any_size_share_a_batch(table, teacher, tmp_path):
    save(table.parent / "backgrounds/wide.png", np.asarray(Image.effect_noise((70, 30), 60).convert("RGB")))
    make(table.parent / "backgrounds", tmp_path / "out", teacher, batch_size=3)
    assert read_label(tmp_path / "out/wide.png").shape == (30, 70)
    assert read_label(tmp_path / "out/1.png").shape == (HEIGHT, WIDTH)


def test_what_was_stopped_goes_on_to_the_same_bytes(table, teacher, tmp_path):
    whole = tmp_path / "whole"
    make(table, whole, teacher, batch_size=4)
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped)
    for name in ("0_1", "1_2"):
        (stopped / f"composites/{name}.png").unlink()
    (stopped / "composites/1_0.png").write_bytes((whole / "composites/1_0.png").read_bytes()[:-40])
    (stopped / "composites/.partial-0_1.png").write_bytes(b"half")
    kept = stopped / "composites/0_0.png"
    before = kept.stat().st_mtime_ns
    make(table, stopped, teacher, batch_size=4)
    assert contents(stopped) == contents(whole)
    assert kept.stat().st_mtime_ns == before


def test_a_label_is_made_again_when_its_mask_has_changed(table, teacher, tmp_path):
    make(table, tmp_path / "out", teacher)
    before = contents(tmp_path / "out")
    save(table.parent / "masks/0_1.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    make(table, tmp_path / "out", teacher)
    after = contents(tmp_path / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"composites/0_1.png", ".provenance.json"}


@pytest.mark.parametrize("kinds", [("composites", "backgrounds", "masks"), ("composites",), ("masks",)])
def test_pictures_in_archives_get_the_labels_that_they_would_get_unpacked(kinds, table, teacher, tmp_path, capsys):
    make(table, tmp_path / "loose", teacher)
    for kind in kinds:
        pack(table.parent / kind)
    make(table, tmp_path / "zipped", teacher)
    assert contents(tmp_path / "zipped") == contents(tmp_path / "loose")
    capsys.readouterr()
    make(table, tmp_path / "loose", teacher)
    assert "6 of them from before" in capsys.readouterr().out


def test_a_folder_with_archives_is_labelled_as_if_they_were_unpacked(table, teacher, tmp_path):
    make(table.parent, tmp_path / "loose", teacher)
    pack(table.parent / "composites")
    pack(table.parent / "masks", name="masks.ZIP")
    make(table.parent, tmp_path / "zipped", teacher)
    assert contents(tmp_path / "zipped") == contents(tmp_path / "loose")


@pytest.mark.parametrize("name", ["0.zip", "0.ZIP"])
def test_an_archive_counts_as_the_folder_that_it_would_unpack_to(name, table):
    parts = table.parent / "composites"
    shutil.copytree(parts, table.parent / "deeper/0/inside")
    pack(table.parent / "deeper/0", name)
    shutil.copytree(table.parent / "backgrounds", table.parent.parent / "rooms")
    pack(table.parent.parent / "rooms")
    table.write_text("composite,background,mask\ndeeper/0/inside/0_1.jpg,../rooms/0.png,\n")
    (source,) = read_sources(table)
    assert [str(file) for file in source.files] == [
        f"{table.parent}/deeper/{name}/inside/0_1.jpg",
        f"{table.parent}/../rooms.zip/0.png",
    ]
    assert read_whole(source.composite) == read_whole(parts / "0_1.jpg")
    (found,) = [one for one in read_sources(table.parent) if one.name == "deeper/0/inside/0_1.jpg"]
    assert found.composite == source.composite


def test_a_file_comes_before_the_archive_that_would_unpack_to_it(table):
    shutil.copytree(table.parent / "composites", table.parent / "copy")
    pack(table.parent / "copy", "composites.zip")
    for pictures in (table, table.parent):
        assert all(isinstance(source.composite, Path) for source in read_sources(pictures))


def test_an_archive_is_listed_once_and_only_open_while_it_is_read(table, teacher, tmp_path, monkeypatch):
    listed = []

    class Noting(zipfile.ZipFile):
        def __init__(self, file, *arguments):
            listed.append(Path(file.name).name)
            super().__init__(file, *arguments)

    for kind in ("composites", "backgrounds", "masks"):
        pack(table.parent / kind)
    monkeypatch.setattr(zipfile, "ZipFile", Noting)
    make(table, tmp_path / "out", teacher)
    assert sorted(listed) == ["backgrounds.zip", "composites.zip", "masks.zip"]
    still_open = [entry.resolve().name for entry in Path("/proc/self/fd").iterdir()]
    assert not set(listed) & set(still_open)


def test_a_damaged_member_is_rejected_alone_and_a_damaged_archive_before_any_work(table, teacher, tmp_path):
    archive = pack(table.parent / "composites")
    content = bytearray(archive.read_bytes())
    content[content.index(b"0_1.jpg") + 300] ^= 1
    archive.write_bytes(content)
    rejected = make(table, tmp_path / "out", teacher)["rejected"]
    assert list(rejected) == ["composites/0_1.jpg"]
    said = rejected["composites/0_1.jpg"]
    assert said.startswith(f"{archive}/0_1.jpg: ") and said.endswith("; download or copy it again")
    archive.write_bytes(content[:-30])
    for pictures in (table, table.parent):
        with pytest.raises(ValueError, match=r"composites.zip: truncated or damaged: .*; download or copy it again"):
            make(pictures, tmp_path / "none", teacher)
    assert not (tmp_path / "none").exists()


def test_a_mask_of_another_size_is_found_in_its_archive(table, teacher, tmp_path):
    save(table.parent / "masks/0_1.png", np.zeros((HEIGHT, 30), np.uint8))
    for kind in ("composites", "masks"):
        pack(table.parent / kind)
    with pytest.raises(ValueError, match=r"masks.zip/0_1.png has 30 x 42 pixels, but .*composites.zip/0_1.jpg has 56"):
        make(table, tmp_path / "out", teacher)


def test_what_no_archive_holds_is_missing(table):
    pack(table.parent / "composites")
    table.write_text("composite,background,mask\ncomposites/9_9.jpg,,\n")
    with pytest.raises(FileNotFoundError, match=r"line 2: .*composites/9_9.jpg is missing; paths are relative to"):
        read_sources(table)


def write_unlabelled(raw, name, unpacked=False):
    """Write a small data set of a layout, all but its depth."""
    layout, totals = written_layouts()[name], Totals(background=2, foreground=1, number=2)
    files = {}
    for number in (1, 2):
        sample = Sample(number, foreground=1, background=number, flip=0, placement=1)
        for kind in ("background", "composite", "mask"):
            pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            files[path_of(layout, totals, kind, sample)] = encode_picture(pixels, 75)
        if layout.labels:
            files["labels.txt"] = files.get("labels.txt", b"") + label_line(layout, totals, sample).encode()
    write_files(raw, [(path.replace(".zip/", "/") if unpacked else path, data) for path, data in files.items()])


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("name", written_layouts())
def test_labels_in_the_names_of_a_layout_make_a_folder_a_data_set(name, unpacked, teacher, tmp_path, capsys):
    raw = tmp_path / "raw"
    write_unlabelled(raw, name, unpacked)
    assert "samples: 0 of 2 composites" in "\n".join(explain_archives(raw, name).lines)
    summary = make(raw, raw / "labels", teacher, layout=name)
    assert (summary["labels"], summary["rejected"]) == (2, {})
    assert "4 of 6 pictures are no composites" in capsys.readouterr().err
    assert "samples: 2 of 2 composites" in "\n".join(explain_archives(raw, "auto").lines)
    labels = list((raw / "labels").rglob("*.jpg"))
    assert len(labels) == 2
    assert all(decode_picture(label.read_bytes(), "depth", 32, "dark").pixels.std() > 10 for label in labels)


def test_the_provenance_of_labels_is_no_file_of_the_data_set(teacher, tmp_path):
    raw = tmp_path / "raw"
    write_unlabelled(raw, "sudhakarmlal")
    make(raw, raw / "labels", teacher, layout="sudhakarmlal")
    assert "rejected, by names alone: 0 of 8 files" in "\n".join(explain_archives(raw, "auto").lines)
    pack(raw / "labels")
    assert "rejected, by names alone: 0 of 8 files" in "\n".join(explain_archives(raw, "auto").lines)


def test_the_command_that_compose_prints_makes_its_data_set_whole(teacher, tmp_path, monkeypatch, capsys):
    world = write_world(tmp_path, depths=False)
    compose(replace(world, out=tmp_path / "my raw", size=HEIGHT, quality=95), workers=1)
    printed = capsys.readouterr().out.split("`")[1]
    program, *arguments = shlex.split(printed)
    result = CliRunner().invoke(app, [*arguments, "--checkpoint", teacher])
    assert program == "maskdepth" and result.exception is None, result.output
    assert f"36 labels in {tmp_path}/my raw/labels" in result.output
    assert "36 aligned with their background; 0 pictures rejected" in result.output
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    unzip.main(Path("my raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    index.main(
        Path("arrays"), Path("index.csv"), Path("rejected.csv"), Path("registered"), Path("journals/index.jsonl")
    )
    assert len(read_index(Path("index.csv"))) == 36
    assert Path("rejected.csv").read_text().count("\n") == 1


def test_labels_among_the_pictures_are_told_apart_by_their_layout(teacher, tmp_path, capsys):
    raw = tmp_path / "raw"
    write_unlabelled(raw, "sudhakarmlal")
    with pytest.raises(ValueError, match="the labels would lie among the pictures"):
        make(raw, raw / "labels", teacher)
    make(raw, raw / "labels", teacher, layout="sudhakarmlal")
    before = contents(raw)
    make(raw, raw / "labels", teacher, layout="sudhakarmlal")
    assert contents(raw) == before
    assert "2 of them from before" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_killed_run_leaves_whole_labels_only_and_goes_on_to_the_same_bytes(table, teacher, tmp_path):
    out = tmp_path / "out"
    code = (
        "import sys, torch; from pathlib import Path; from maskdepth.making.labelling.labels import label_depth\n"
        "label_depth(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], 1, False, torch.device('cpu'))"
    )
    for number in range(80):  # enough to be met at work
        shutil.copy(table.parent / "backgrounds/0.png", table.parent / f"backgrounds/more{number}.png")
    command = [sys.executable, "-c", code, str(table.parent / "backgrounds"), str(out), teacher]
    for wanted in (1, 10):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            while len(list(out.glob("[!.]*.png"))) < wanted and running.poll() is None:
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
        labels = list(out.glob("[!.]*.png"))
        assert wanted <= len(labels) < 82
        assert all(read_label(label).shape == (HEIGHT, WIDTH) for label in labels)
        assert json.loads((out / ".provenance.json").read_text())["finished"] is False
    make(table.parent / "backgrounds", out, teacher, batch_size=1)
    make(table.parent / "backgrounds", tmp_path / "whole", teacher, batch_size=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_broken_picture_is_reported_and_the_others_are_labelled(table, teacher, tmp_path, capsys):
    composite = table.parent / "composites/0_1.jpg"
    make(table, tmp_path / "out", teacher)
    composite.write_bytes(composite.read_bytes()[:300])
    (table.parent / "masks/1_0.png").write_text("no picture")
    summary = make(table, tmp_path / "out", teacher)
    assert summary["labels"] == 4
    assert list(summary["rejected"]) == ["composites/0_1.jpg", "composites/1_0.jpg"]
    assert "masks/1_0.png: it is not a JPEG or PNG picture" in summary["rejected"]["composites/1_0.jpg"]
    assert not (tmp_path / "out/composites/0_1.png").exists()  # the label of what it was before it broke
    said = capsys.readouterr()
    assert "no label for composites/0_1.jpg" in said.err and "2 pictures rejected" in said.out


def test_pictures_deeper_than_8_bits_are_scaled_not_clipped(tmp_path):
    levels = np.arange(0, 256, dtype=np.uint16).reshape(8, 32)
    Image.fromarray(levels * 257).save(tmp_path / "deep.png")
    Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "plain.png")
    deep, plain = (np.asarray(read_colour(tmp_path / name)) for name in ("deep.png", "plain.png"))
    assert np.array_equal(deep, plain)
    assert np.array_equal(read_mask(tmp_path / "deep.png"), levels > 127)


def test_a_turned_photograph_gets_an_upright_label(table, teacher, tmp_path):
    path = table.parent / "backgrounds/turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(table.parent / "backgrounds/0.png") as image:
        image.save(path, exif=exif)
    save(table.parent / "masks/turned.png", np.zeros((WIDTH, HEIGHT), np.uint8))
    table.write_text("composite,background,mask\nbackgrounds/turned.jpg,backgrounds/turned.jpg,masks/turned.png\n")
    assert make(table, tmp_path / "out", teacher)["variance_outside"]["backgrounds/turned.jpg"] == 0
    assert read_label(tmp_path / "out/backgrounds/turned.png").shape == (WIDTH, HEIGHT)


def test_nothing_but_broken_pictures_is_an_error(teacher, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"none of 1 pictures could be labelled; a.jpg: .*it is not a JPEG or PNG"):
        make(tmp_path / "pictures", tmp_path / "out", teacher)


def test_composites_that_a_layout_has_no_depth_name_for_are_counted(table, teacher, tmp_path, capsys):
    for folder in ("bg_fg_1", "bg_fgFlip_1"):
        shutil.copytree(table.parent / "composites", tmp_path / "pictures" / folder)
        for number, path in enumerate(sorted((tmp_path / "pictures" / folder).iterdir()), 1):
            path.rename(path.with_name(f"1_bg_{number}_fg.jpg"))
    assert make(tmp_path / "pictures", tmp_path / "out", teacher, layout="sumankanukollu")["labels"] == 6
    assert "6 composites get no label: layout sumankanukollu has no name for it" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "pictures/bg_fg_1")
    with pytest.raises(ValueError, match=r"no name for the depth of any composite, such as bg_fgFlip_1/1_bg_1"):
        make(tmp_path / "pictures", tmp_path / "none", teacher, layout="sumankanukollu")
    assert not (tmp_path / "none").exists()


def test_a_layout_that_does_not_fit_is_said_before_anything_is_made(table, teacher, tmp_path):
    with pytest.raises(ValueError, match=r"none of the 14 pictures of .* is a composite of layout mshilpaa"):
        make(table.parent, tmp_path / "out", teacher, layout="mshilpaa")
    with pytest.raises(ValueError, match=r"unknown layout 'mine'; known: deepjyotisaha85, mshilpaa"):
        make(table.parent, tmp_path / "out", teacher, layout="mine")
    assert not (tmp_path / "out").exists()


def test_the_network_s_input_can_be_larger_and_is_told(table, teacher, tmp_path):
    make(table, tmp_path / "usual", teacher)
    summary = make(table, tmp_path / "large", teacher, input_size=112)
    assert summary["teacher"]["input"]["size"] == {"height": 112, "width": 112}
    usual, large = (read_label(tmp_path / folder / "composites/0_0.png") for folder in ("usual", "large"))
    assert usual.shape == large.shape
    assert not np.array_equal(usual, large)
    with pytest.raises(ValueError, match="would not fit; choose another"):
        make(table, tmp_path / "large", teacher)


def test_an_input_size_that_the_network_cannot_take_is_refused(table, teacher, tmp_path):
    with pytest.raises(ValueError, match=r"--input-size is 100; .* takes multiples of 14 px, such as 98"):
        make(table, tmp_path / "out", teacher, input_size=100)
    for part in small_glpn():
        part.save_pretrained(tmp_path / "glpn")
    with pytest.raises(ValueError, match="looks at pictures of any size as they are; leave --input-size out"):
        load_teacher(str(tmp_path / "glpn"), "mit", CPU, 64)


def test_another_network_is_refused_in_the_same_folder(table, teacher, tmp_path):
    make(table, tmp_path / "out", teacher)
    before = contents(tmp_path / "out")
    other = save_teacher(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"holds labels made with .*tiny.*would not fit; choose another folder"):
        make(table, tmp_path / "out", other)
    assert contents(tmp_path / "out") == before


def test_a_damaged_provenance_is_explained(table, teacher, tmp_path):
    make(table, tmp_path / "out", teacher)
    (tmp_path / "out/.provenance.json").write_text("{")
    with pytest.raises(ValueError, match=r"provenance.json cannot be read: .*choose another folder, or delete"):
        make(table, tmp_path / "out", teacher)


def test_two_runs_in_one_folder_do_not_meet(table, teacher, tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(Timeout, match=r"\.lock"):
        make(table, tmp_path / "out", teacher)


def test_the_same_network_in_another_place_is_not_another_one(table, teacher, tmp_path):
    make(table, tmp_path / "out", teacher)
    shutil.copytree(teacher, tmp_path / "moved")
    make(table, tmp_path / "out", str(tmp_path / "moved"))


def test_weights_for_research_only_want_permission(table, teacher, tmp_path):
    folder = shutil.copytree(teacher, tmp_path / "research")
    (folder / "README.md").write_text("---\ntags: [depth]\nlicense: cc-by-nc-4.0\n---\n# A network\n")
    with pytest.raises(ValueError, match=r"cc-by-nc-4.0: no commercial use.*--allow-noncommercial"):
        make(table, tmp_path / "out", str(folder))
    assert make(table, tmp_path / "out", str(folder), allow_noncommercial=True)["teacher"]["licence"] == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("checkpoint", "licence"),
    [("depth-anything/Depth-Anything-V2-Small-hf", "apache-2.0"), ("nobody/nothing", "unknown")],
)
def test_the_licence_is_known_before_anything_is_downloaded(checkpoint, licence):
    assert check_licence(checkpoint, allow_noncommercial=False) == licence


@pytest.mark.parametrize("checkpoint", ["depth-anything/Depth-Anything-V2-Large-hf", "apple/DepthPro-hf"])
def test_known_weights_for_research_only_are_refused(checkpoint):
    with pytest.raises(ValueError, match="no commercial use"):
        check_licence(checkpoint, allow_noncommercial=False)


def test_weights_that_cannot_be_had_are_explained(table, tmp_path):
    with pytest.raises(ValueError, match=r"nobody/nothing cannot be had: .*`hf download nobody/nothing`.* folder"):
        make(table, tmp_path / "out", "nobody/nothing")


def test_damaged_weights_are_explained(teacher, tmp_path):
    folder = shutil.copytree(teacher, tmp_path / "cut")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut is damaged or no network for depth: .*; download it again"):
        load_teacher(str(folder), "mit", CPU)


def test_weights_that_lack_a_part_are_not_filled_up_with_random_numbers(teacher, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(teacher, tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    unused = {name: weights.pop(name) for name in list(weights) if "fusion_stage.layers.0.residual_layer1" in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert unused
    first, second = (load_teacher(str(folder), "mit", CPU).facts["weights"] for _ in range(2))
    assert first == second  # the unused ones are random, and do not count
    del weights["head.conv3.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, head.conv3.weight first"):
        load_teacher(str(folder), "mit", CPU)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "bert"}', r"network of type bert; depth labels can be made with depth_anything, depth_pro"),
        ('{"model_type": "no such"}', "damaged or no network for depth"),
        ("{", "cannot be had"),
    ],
)
def test_another_kind_of_network_is_refused(config, message, tmp_path):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message) as raised:
        load_teacher(str(tmp_path), "mit", CPU)
    assert "\n" not in str(raised.value)


def test_without_transformers_the_extra_is_named(table, teacher, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'maskdepth\[depth\]'"):
        make(table, tmp_path / "out", teacher)


def small_dpt_on_dinov2():
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    backbone = Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, patch_size=14, image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DPTConfig(backbone_config=backbone, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8)
    return DPTForDepthEstimation(config), DPTImageProcessor(size={"height": 56, "width": 56})


def small_dpt():
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, patch_size=8, image_size=32,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    return DPTForDepthEstimation(config), DPTImageProcessor(size={"height": 32, "width": 32})


def small_glpn():
    from transformers import GLPNConfig, GLPNForDepthEstimation, GLPNImageProcessor

    config = GLPNConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=8, num_attention_heads=[1, 1, 1, 1]
    )
    return GLPNForDepthEstimation(config), GLPNImageProcessor()


def small_zoedepth():
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation, ZoeDepthImageProcessor

    backbone = BeitConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, patch_size=8, image_size=32,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
        use_relative_position_bias=True,
    )  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone, backbone_hidden_size=32, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        bottleneck_features=8, num_relative_features=8, bin_embedding_dim=8, num_attractors=[2, 2, 2, 2],
        bin_configurations=[{"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )  # fmt: skip
    return ZoeDepthForDepthEstimation(config), ZoeDepthImageProcessor(
        size={"height": 32, "width": 32}, ensure_multiple_of=8
    )


@pytest.mark.parametrize(
    ("build", "output"),
    [
        (small_dpt, "relative inverse depth"),
        (small_dpt_on_dinov2, "metric depth"),
        (small_glpn, "metric depth"),
        (small_zoedepth, "metric depth"),
    ],
)
def test_networks_of_other_types_give_a_map_of_the_pictures_size(build, output, table, tmp_path):
    model, processor = build()
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    teacher = load_teacher(str(tmp_path / "tiny"), "mit", CPU)
    with Image.open(table.parent / "backgrounds/0.png") as image:
        (distance,) = predict_distances(teacher, [image.convert("RGB")])
    assert teacher.facts["output"] == output
    assert distance.shape == (HEIGHT, WIDTH) and np.isfinite(distance).all()
    assert (distance.mean() > 0) == (output == "metric depth")


def test_the_commit_is_noted_of_a_checkpoint_in_the_hubs_cache(teacher, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--somebody--network"
    shutil.copytree(teacher, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    facts = load_teacher("somebody/network", "mit", CPU).facts
    assert (facts["checkpoint"], facts["revision"]) == ("somebody/network", commit)


def test_a_folder_without_pictures_is_an_error(teacher, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/.hidden.png").touch()
    with pytest.raises(ValueError, match=r"pictures has no pictures; expected files in .jpeg, .jpg, .png"):
        make(tmp_path / "pictures", tmp_path / "out", teacher)
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a folder of pictures, or a .csv table"):
        make(tmp_path / "nowhere", tmp_path / "out", teacher)


def test_an_output_that_cannot_be_written_is_an_error_before_any_work(table, teacher, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(ValueError, match=r"cannot write to .*choose another folder"):
            make(table, out, teacher)


def test_labels_never_lie_among_the_pictures_nor_replace_one(table, teacher, tmp_path):
    backgrounds = table.parent / "backgrounds"
    with pytest.raises(ValueError, match="among the pictures"):
        make(backgrounds, backgrounds / "out", teacher)
    foreign = shutil.copytree(backgrounds, tmp_path / "out")
    with pytest.raises(ValueError, match="that this command has not made"):
        make(backgrounds, foreign, teacher)
    assert (foreign / "0.png").read_bytes() == (backgrounds / "0.png").read_bytes()


@pytest.mark.parametrize("kind", ["masks/0_1.png", "backgrounds/0.png"])
def test_a_mask_or_background_of_another_size_is_an_error_before_any_work(kind, table, teacher, tmp_path):
    save(table.parent / kind, np.zeros((HEIGHT, 30), np.uint8))
    with pytest.raises(ValueError, match=rf"{kind} has 30 x 42 pixels, but .*0_. ?.jpg has 56 x 42"):
        make(table, tmp_path / "out", teacher)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ("picture,background\n", ValueError, r"has the columns picture,background; expected composite,background,mask"),
        ("composite,background,mask\n", ValueError, "has no pictures"),
        ("composite,background,mask\ncomposites/0_0.jpg\n", ValueError, r"line 2: composites/0_0.jpg; expected"),
        ("composite,background,mask\n../0.jpg,,\n", ValueError, "line 2: the composite ../0.jpg lies outside"),
        ("composite,background,mask\ncomposites/9_9.jpg,,\n", FileNotFoundError, r"line 2: .*9_9.jpg is missing"),
        (2 * "composite,background,mask\ncomposites/0_0.jpg,,\n", FileNotFoundError, "line 3: .*composite is missing"),
        ("composite,background,mask\n" + 2 * "composites/0_0.jpg,,\n", ValueError, "would have the same label"),
    ],
)
def test_a_table_that_cannot_be_right_is_explained(lines, error, message, table):
    table.write_text(lines)
    with pytest.raises(error, match=message):
        read_sources(table)


def test_a_batch_holds_at_least_one_picture(table, teacher, tmp_path):
    with pytest.raises(ValueError, match="the batch size is 0; expected 1 or more"):
        make(table, tmp_path / "out", teacher, batch_size=0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged EXIF
def test_a_picture_whose_exif_is_damaged_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", exif=exif)
    data = bytearray((tmp_path / "a.png").read_bytes())
    start = data.index(b"eXIf") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big")
    for place in range(start, start + size):
        damaged = data.copy()
        damaged[place] ^= 0xFF
        chunk = bytes(damaged[start - 4 : start + size])
        damaged[start + size : start + size + 4] = zlib.crc32(chunk).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(damaged)
        with contextlib.suppress(RefusedError):  # or read, if it was nothing that matters
            read_whole(tmp_path / "a.png")
