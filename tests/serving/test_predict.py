"""Proves that prediction sees pictures as training did, answers at their own size, and survives every bad picture."""

import copy
import csv
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from maskdepth.data.pictures.decoding import decode_picture
from maskdepth.making.drawing.sample import write_sample
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.models.saved import save_network
from maskdepth.serving.files import ENDINGS, USUAL
from maskdepth.serving.planning import plan_predictions
from maskdepth.serving.predict import predict as predict_plan
from maskdepth.serving.predict import predict_arrays

SIDE = 16
PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (1.0,) * 3)


class Difference(nn.Module):
    """Takes for the object whatever is brighter by a half, and for depth the red of the background."""

    def forward(self, pictures):
        background, composite = pictures.chunk(2, dim=1)
        return 40 * (composite - background).mean(1, keepdim=True) - 10, background[:, :1].logit(1e-6)


@pytest.fixture(scope="module")
def by_difference():
    return Network(Difference(), NetworkSpec("difference", "background+composite", PLAIN, SIDE)).eval()


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    usual = Normalisation((0.5,) * 3, (0.15,) * 3, (0.5,) * 3, (0.15,) * 3)
    network = build_network(NetworkSpec("dsunet", "background+composite", usual, SIDE)).eval()
    with torch.no_grad():
        network.model.depth_head.weight *= 1000  # fresh weights hardly leave the middle of the range
    return network


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    save_network(trained, path)
    return path


def predict(
    background, composite, out, model, *, write=USUAL, onto=None, background_depth=None, overwrite=False, **how
):
    """Plan and predict, as the command does."""
    background, composite, out, onto = (path and Path(path) for path in (background, composite, out, onto))
    plan = plan_predictions(
        background, composite, out, write, onto, background_depth=background_depth, overwrite=overwrite
    )
    return predict_plan(plan, model, **how)


def draw(seed: int, height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_folders(folder: Path, names: str = "abc") -> tuple[Path, Path]:
    for number, name in enumerate(names):
        save(folder / "backgrounds" / f"{name}.png", draw(number))
        save(folder / "composites" / f"{name}.png", draw(number + 100))
    return folder / "backgrounds", folder / "composites"


def read_rows(out: Path) -> list[list[str]]:
    return list(csv.reader((out / "predictions.csv").read_text().splitlines()))


def open_all(out: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(out.iterdir()) if path.suffix != ".csv"}


# Arrays


def test_the_object_is_found_where_it_stands_at_the_size_of_the_composite(by_difference):
    background = np.full((64, 96, 3), 51, np.uint8)  # a fifth of white
    composite = background.copy()
    composite[16:32, 24:48] = 179  # half of white brighter
    mask_prob, depth = predict_arrays(by_difference, background, composite)
    expected = np.zeros((64, 96), bool)
    expected[16:32, 24:48] = True
    assert mask_prob.dtype == depth.dtype == np.float32
    assert ((mask_prob > 0.5) & expected).sum() / ((mask_prob > 0.5) | expected).sum() > 0.9
    assert mask_prob[24, 36] == pytest.approx(1, abs=1e-4) and mask_prob[48, 80] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(depth, 0.2, atol=1e-4)


def test_at_its_own_size_the_answer_is_the_network_s(trained):
    background, composite = draw(1, SIDE, SIDE), draw(2, SIDE, SIDE)
    pictures = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 for picture in (background, composite))
    with torch.inference_mode():
        prediction = trained(*pictures)
    maps = predict_arrays(trained, background, composite)
    np.testing.assert_allclose(maps.mask_prob, prediction.mask_logits[0, 0].sigmoid(), atol=1e-6)
    np.testing.assert_allclose(maps.depth, prediction.depth[0, 0], atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (600, 3), (33, 400)])
def test_any_size_and_shape_comes_back_within_range(trained, height, width):
    for values in predict_arrays(trained, draw(1, height, width), draw(2, height, width)):
        assert values.shape == (height, width)
        assert 0 <= values.min() <= values.max() <= 1


def test_a_background_of_another_size_but_the_same_shape_is_taken(by_difference):
    maps = predict_arrays(by_difference, np.zeros((30, 50, 3), np.uint8), np.full((60, 100, 3), 255, np.uint8))
    assert maps.mask_prob.shape == (60, 100) and maps.mask_prob.min() > 0.99


def test_arrays_that_are_no_pictures_of_one_scene_are_refused(trained):
    good = draw(1, 20, 30)
    for bad, message in [
        (good / 255, r"composite: found float64 of shape \(20, 30, 3\); expected uint8 of shape"),
        (good[..., 0], r"composite: found uint8 of shape \(20, 30\)"),
        (good[:0], r"composite: found uint8 of shape \(0, 30, 3\)"),
        (draw(1, 30, 20), "background has 30 x 20 pixels, the composite 20 x 30; crop one of them"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict_arrays(trained, good, bad)


def test_a_network_in_training_mode_is_refused():
    network = Network(Difference(), NetworkSpec("difference", "background+composite", PLAIN, SIDE)).train()
    with pytest.raises(ValueError, match=r"training mode.*call network\.eval\(\)"):
        predict_arrays(network, draw(1), draw(2))


# Files


def photograph(height, width):
    """Draw something with detail at every scale."""
    rng = np.random.default_rng(0)
    layers = [rng.integers(0, 256, (height // n + 1, width // n + 1, 3), np.uint8) for n in (4, 8, 16)]
    sizes = [np.asarray(Image.fromarray(layer).resize((width, height), 3), float) for layer in layers]
    return np.mean(sizes, axis=0).astype(np.uint8)


def test_a_camera_that_moved_is_put_back_and_said(model, tmp_path, capsys):
    scene = photograph(140, 180)
    composite = scene[10:130, 10:170].copy()
    composite[50:80, 60:90] = (250, 40, 40)
    still, moved = (save(tmp_path / f"{y}.png", scene[y : y + 120, y : y + 160]) for y in (10, 13))
    visitor = save(tmp_path / "visitor.png", composite)
    masks = {}
    for name, room, registers in (("still", still, True), ("moved", moved, True), ("as_is", moved, False)):
        predict(room, visitor, tmp_path / name, model, registers=registers)
        masks[name] = open_all(tmp_path / name)["visitor_mask.png"] > 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" % of the picture; left as it was")
    assert "; moved 3.0, 3.0 px" in said[2]
    assert (masks["moved"] != masks["still"]).mean() < 0.02 < (masks["as_is"] != masks["still"]).mean()


def test_two_rooms_are_predicted_and_doubted(model, tmp_path, capsys):
    room, other = save(tmp_path / "room.png", photograph(120, 160)), save(tmp_path / "other.png", draw(2, 120, 160))
    ((_, status, share, note),) = predict(room, other, tmp_path / "out", model)
    assert (status, note.split(":")[0]) == ("doubtful", "these two pictures do not fit")
    assert 0 <= share <= 1
    said = capsys.readouterr().err
    assert said.startswith("warning: other: these two pictures do not fit: ")
    assert "; photograph both from one place, and name the two that belong together" in said


def test_results_have_the_size_of_the_composite_and_say_what_the_arrays_say(trained, model, tmp_path, capsys):
    background, composite = draw(1, 45, 70), draw(2, 45, 70)
    files = save(tmp_path / "room.png", background), save(tmp_path / "chair.png", composite)
    mask_prob, depth = predict_arrays(trained, background, composite)
    threshold = float(np.median(mask_prob))
    how = {"write": ["mask,depth", "probability"], "threshold": threshold, "registers": False}
    ((name, _, share, _),) = predict(*files, tmp_path / "out", model, **how)
    written = open_all(tmp_path / "out")
    assert list(written) == ["chair_depth.png", "chair_mask.png", "chair_probability.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(written)
    np.testing.assert_array_equal(written["chair_mask.png"], np.where(mask_prob > threshold, 255, 0))
    np.testing.assert_array_equal(written["chair_depth.png"], (depth * 65535).round())
    np.testing.assert_array_equal(written["chair_probability.png"], (mask_prob * 255).round())
    assert (name, share) == ("chair", (mask_prob > threshold).mean())
    assert capsys.readouterr().out.splitlines() == [
        f"predict: chair: object {100 * share:.1f} % of the picture",
        f"predict: wrote chair_mask.png, chair_depth.png, chair_probability.png in {tmp_path / 'out'}",
    ]


def test_every_kind_of_result_is_written_and_each_shows_the_same_object(model, trained, tmp_path):
    background, composite = photograph(120, 200), photograph(120, 200)
    composite[40:90, 60:120] = draw(5, 50, 60)
    files = [save(tmp_path / f"{name}.png", pixels) for name, pixels in (("b", background), ("c", composite))]
    beach = save(tmp_path / "beach.png", np.full((50, 50, 3), (10, 200, 90), np.uint8))
    mask_prob, depth = predict_arrays(trained, background, composite)
    share = predict(*files, tmp_path / "out", model, write=ENDINGS, onto=beach)[0].share
    written = open_all(tmp_path / "out")
    assert set(written) == {f"c{ending}" for ending in ENDINGS.values()}
    assert {pixels.shape[:2] for name, pixels in written.items() if "panel" not in name} == {(120, 200)}
    assert share == (written["c_mask.png"] > 0).mean() == (mask_prob > 0.5).mean()
    alpha = written["c_cutout.png"][..., 3]
    assert ((alpha > 127) == (mask_prob > 0.5)).mean() > 0.99
    np.testing.assert_array_equal(written["c_cutout.png"][alpha > 0, :3], composite[alpha > 0])
    near, far = (np.unravel_index(pick(depth), depth.shape) for pick in (np.argmin, np.argmax))
    assert written["c_depth_colour.png"][near].sum() > written["c_depth_colour.png"][far].sum()
    assert written["c_panel.jpg"].shape[0] > 480


def test_the_network_sees_a_photograph_exactly_as_in_training(trained, model, tmp_path):
    """Large JPEG pictures are decoded at a fraction of their size there; here the same must happen."""
    smooth = np.asarray(Image.fromarray(draw(3, 6, 8)).resize((400, 300), Image.Resampling.BICUBIC))
    files = save(tmp_path / "b.jpg", smooth), save(tmp_path / "c.jpg", smooth[:, ::-1])
    predict(*files, tmp_path / "out", model)
    seen = [decode_picture(path.read_bytes(), "composite", SIDE, "dark").pixels for path in files]
    coarse = predict_arrays(trained, *seen).depth
    expected = np.asarray(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(open_all(tmp_path / "out")["c_depth.png"] / 65535, expected, atol=1e-5)


def test_a_turned_photograph_gives_upright_results(model, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side
    files = [save(tmp_path / f"{name}.jpg", draw(seed, 30, 60), exif=turned) for seed, name in enumerate("bc")]
    predict(*files, tmp_path / "out", model)
    assert open_all(tmp_path / "out")["c_mask.png"].shape == (60, 30)


def test_batches_change_nothing(model, tmp_path):
    folders = write_folders(tmp_path)
    for size in (1, 2, 16):
        predict(*folders, tmp_path / str(size), model, batch_size=size)
    first, *others = (open_all(tmp_path / str(size)) for size in (1, 2, 16))
    assert len(first) == 9
    for other in others:
        for name, pixels in first.items():
            if name.endswith("_depth.png"):  # of 65535: sums in another order
                np.testing.assert_allclose(other[name].astype(int), pixels.astype(int), atol=2)
            else:
                assert (np.abs(other[name].astype(int) - pixels) > 2).mean() < 0.01


def test_one_background_serves_a_folder_of_composites(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path)
    one = predict(backgrounds / "a.png", composites, tmp_path / "one", model)
    assert [outcome.name for outcome in one] == ["a", "b", "c"]
    predict(backgrounds / "a.png", composites / "b.png", tmp_path / "alone", model)
    alone, together = open_all(tmp_path / "alone")["b_depth.png"], open_all(tmp_path / "one")["b_depth.png"]
    np.testing.assert_allclose(together.astype(int), alone.astype(int), atol=2)
    assert not (tmp_path / "alone" / "predictions.csv").exists()


def test_bad_pictures_cost_their_own_pairs_and_are_reported(model, tmp_path, capsys):
    backgrounds, composites = write_folders(tmp_path, "abcdefg")
    whole = (composites / "b.png").read_bytes()
    (composites / "b.png").write_bytes(whole[: len(whole) // 2])
    (composites / "c.png").write_bytes(b"<html>not found</html>")
    save(backgrounds / "d.png", draw(1, 24, 24))
    (composites / "e.png").unlink()
    (composites / "f.png").write_bytes(whole + bytes(10_000))
    outcomes = predict(backgrounds, composites, tmp_path / "out", model, batch_size=2, max_bytes=10_000)
    rows = read_rows(tmp_path / "out")
    assert rows[0] == ["name", "status", "share", "note"]
    assert [(row[0], row[3]) for row in rows[1:]] == [(name, note) for name, _, _, note in outcomes]
    assert [(row[1] == "failed", row[2] == "") for row in rows[1:]] == [(name not in "ag",) * 2 for name in "abcdefg"]
    reasons = {name: note for name, _, _, note in outcomes}
    assert reasons["b"].startswith(f"{composites / 'b.png'}: it cannot be decoded:")
    assert reasons["c"] == f"{composites / 'c.png'}: it is not a JPEG or PNG picture; convert it to PNG"
    assert reasons["d"].startswith(
        f"{backgrounds / 'd.png'} and {composites / 'd.png'}: the background has 24 x 24 pix"
    )
    assert reasons["e"] == f"no composite of this name in {composites}"
    assert reasons["f"] == f"{composites / 'f.png'}: it has over 10,000 bytes; shrink it"
    assert len(open_all(tmp_path / "out")) == 2 * 3
    printed = capsys.readouterr()
    assert "predict: 2 predicted, 5 failed; object " in printed.out
    assert all(printed.err.count(f"warning: {name}: ") == 1 for name in "bcdef")


def test_links_to_devices_pipes_and_folders_named_as_pictures_fail_in_a_row_of_their_own(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path, "abcdef")
    for name, make in (
        ("a", lambda path: path.symlink_to("/dev/zero")),
        ("b", os.mkfifo),
        ("c", Path.mkdir),
        ("d", lambda path: path.symlink_to(tmp_path / "nowhere")),
        ("e", lambda path: path.symlink_to(path)),
    ):
        (composites / f"{name}.png").unlink()
        make(composites / f"{name}.png")
    rows = {outcome.name: outcome for outcome in predict(backgrounds, composites, tmp_path / "out", model)}
    assert [rows[name].status == "failed" for name in "abcdef"] == [True] * 5 + [False]
    assert all("it is a folder, a pipe or a device" in rows[name].note for name in "abc")
    assert all("it leads nowhere" in rows[name].note for name in "de")


def test_strict_fails_after_all_the_others_are_done(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path)
    (composites / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 3 pairs failed, such as a: .*a\.png: it is not a JPEG or PNG"):
        predict(backgrounds, composites, tmp_path / "out", model, strict=True)
    assert len(open_all(tmp_path / "out")) == 2 * 3 and len(read_rows(tmp_path / "out")) == 4


def test_nothing_predicted_at_all_is_an_error(model, tmp_path):
    good, bad = save(tmp_path / "good.png", draw(1)), tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match=rf"^{bad}: it is not a JPEG or PNG picture; convert it to PNG$"):
            predict(*pair, tmp_path / "out", model)


def test_results_are_replaced_only_on_request(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path)
    predict(backgrounds, composites, tmp_path / "out", model)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=r"10 of the results are there already, such as .*; choose another folder"):
        predict(backgrounds, composites, tmp_path / "out", model)
    (tmp_path / "out" / "a_mask.png").write_bytes(b"old")
    predict(backgrounds, composites, tmp_path / "out", model, overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_second_pair_may_join_the_results_of_the_first(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path)
    for name in "ab":
        predict(backgrounds / f"{name}.png", composites / f"{name}.png", tmp_path / "out", model)
    assert len(open_all(tmp_path / "out")) == 2 * 3


@pytest.mark.parametrize("stem", ["-rf", "a\nb", "x" * 250, "\udcff"])
def test_strange_names_stay_in_the_folder_and_on_their_line(model, tmp_path, stem):
    composite = io.BytesIO()
    Image.fromarray(draw(2)).save(composite, "PNG")
    folder = tmp_path / "composites"
    folder.mkdir()
    (folder / f"{stem}.png").write_bytes(composite.getvalue())
    [outcome] = predict(save(tmp_path / "b.png", draw(1)), folder, tmp_path / "out", model)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"{outcome.name}{ENDINGS[kind]}" for kind in USUAL),
        "predictions.csv",
    }
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 2


def test_a_model_that_is_not_ours_is_refused_before_anything_is_written(tmp_path):
    files = save(tmp_path / "b.png", draw(1)), save(tmp_path / "c.png", draw(2))
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"weights": 1}))
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is missing; `dvc repro train` makes it"):
        predict(*files, tmp_path / "out", tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"model\.pt is no readable safetensors file"):
        predict(*files, tmp_path / "out", tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"other\.safetensors: found format None, expected 'maskdepth-network-2'"):
        predict(*files, tmp_path / "out", tmp_path / "other.safetensors")
    assert not (tmp_path / "out").exists()


def test_an_answer_that_is_no_number_is_no_prediction(trained, tmp_path):
    overflowing = copy.deepcopy(trained)
    with torch.no_grad():  # finite, and too large for what it is multiplied with
        for weights in overflowing.parameters():
            weights.copy_(weights.sign() * 3e38)
    save_network(overflowing, tmp_path / "model.safetensors")
    backgrounds, composites = write_folders(tmp_path)
    with pytest.raises(ValueError, match=r"3 of 3 pairs failed, such as a: the network answers with no numbers; train"):
        predict(backgrounds, composites, tmp_path / "out", tmp_path / "model.safetensors")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.csv"]


def test_settings_out_of_range_are_refused(model, tmp_path):
    files = save(tmp_path / "b.png", draw(1)), save(tmp_path / "c.png", draw(2))
    for threshold, batch_size in ((0.0, 1), (1.0, 1), (0.5, 0)):
        with pytest.raises(ValueError, match=rf"found threshold {threshold:g} and batch size {batch_size}; expected"):
            predict(*files, tmp_path / "out", model, threshold=threshold, batch_size=batch_size)


# Doubts


def test_the_same_picture_twice_is_refused_whatever_its_file(model, tmp_path):
    first, second = (save(tmp_path / name, photograph(60, 80)) for name in ("room.png", "copy.png"))
    for composite in (first, second):
        with pytest.raises(
            ValueError, match=r"room\.png and .*\.png: background and composite are the same picture; name"
        ):
            predict(first, composite, tmp_path / "out", model)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda room: room // 200, "shows next to nothing, unlike anything in training; take it in more even light"),
        (lambda room: room // 4, "is darker than anything in training; expose it anew"),
        (lambda room: 255 - room // 4, "is brighter than anything in training; expose it anew"),
        (lambda room: np.asarray(Image.fromarray(room).resize((4, 3)).resize((160, 120), 3)), "is blurred, unlike any"),
    ],
    ids=["black", "dark", "bright", "blurred"],
)
def test_pictures_unlike_those_of_training_are_named_with_the_cure(tmp_path, capsys, change, told):
    room = photograph(120, 160)
    moments = [float(room.mean()) / 255] * 3, [float(room.std()) / 255] * 3  # as if all training had been like it
    save_network(
        build_network(NetworkSpec("dsunet", "background+composite", Normalisation(*moments, *moments), 32)),
        tmp_path / "model.safetensors",
    )
    visitor = room.copy()
    visitor[40:80, 60:90] = draw(3, 40, 30)
    good, bad = save(tmp_path / "room.png", room), save(tmp_path / "visitor.png", change(visitor))
    ((_, status, _, note),) = predict(good, bad, tmp_path / "out", tmp_path / "model.safetensors")
    assert status == "doubtful"
    assert f"{bad} {told}" in note and str(good) not in note
    assert f"warning: visitor: {note}\n" == capsys.readouterr().err


def test_a_picture_that_is_squeezed_a_lot_is_named(model, tmp_path):
    files = [save(tmp_path / f"{name}.png", draw(seed, 20, 90)) for seed, name in enumerate("bc")]
    ((_, _, _, note),) = predict(*files, tmp_path / "out", model, registers=False)
    assert f"{files[1]} is 4.5 times as long as it is wide, and the network sees it squeezed; crop it" in note


# Data sets and what they hold


def test_a_data_set_is_predicted_from_its_archives_and_nothing_is_unpacked(model, tmp_path, capsys):
    write_sample(tmp_path / "raw", "sumankanukollu", 0, 3, 2, 12, 48)
    before = sorted(tmp_path.rglob("*"))
    outcomes = predict(tmp_path / "raw", None, tmp_path / "out", model, write=["mask"])
    assert len(outcomes) >= 12
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {f"{one.name}_mask.png" for one in outcomes}
    assert sorted(path for path in tmp_path.rglob("*") if tmp_path / "out" not in (path, *path.parents)) == before
    assert f"a row of each in {tmp_path / 'out' / 'predictions.csv'}" in capsys.readouterr().out


def test_a_table_is_predicted_and_its_missing_row_told(model, tmp_path, capsys):
    write_folders(tmp_path, "ab")
    (tmp_path / "pairs.csv").write_text(
        "background,composite\nbackgrounds/a.png,composites/b.png\nbackgrounds/a.png,composites/z.png\n"
    )
    outcomes = predict(tmp_path / "pairs.csv", None, tmp_path / "out", model)
    assert [(one.name, one.status == "failed") for one in outcomes] == [("b", False), ("z", True)]
    assert "warning: z: " in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_predicted(model, tmp_path):
    files = save(tmp_path / "b.png", draw(1)), save(tmp_path / "c.png", draw(2))
    (tmp_path / "out").write_text("a file")
    for out in (tmp_path / "out", tmp_path / "out" / "below", Path("/proc/out")):
        with pytest.raises(ValueError, match=rf"cannot write to {out}: .*; choose another folder"):
            predict(*files, out, model)


@pytest.fixture(scope="module")
def sees_depth(tmp_path_factory):
    """A network that finds no object, and far away the bottom of every scene of which it is told nothing."""

    class Floor(nn.Module):
        def forward(self, pictures):
            across = torch.linspace(-3, 3, pictures.shape[2]).view(1, 1, -1, 1).expand_as(pictures[:, :1])
            return torch.full_like(across, -20), across

    network = Network(Floor(), NetworkSpec("floor", "background+composite+background_depth", PLAIN, 64)).eval()
    nn.init.zeros_(network.fusion.head.weight)
    network.fusion.head.bias.data = torch.tensor([0.0, 20.0, 0.0])  # it trusts what it is told
    return network


@pytest.fixture
def model_with_depth(sees_depth, monkeypatch):
    monkeypatch.setattr("maskdepth.serving.predict.load_network", lambda path: sees_depth)
    return Path("model.safetensors")


def make_rooms(folder, count=1, moved=0):
    """Photograph rooms, and measure their depth: farther towards the bottom, and to the right."""
    down, right = np.mgrid[:64, :96]
    depth = (2 * down + right).astype(np.uint8)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (8, 12, 3), np.uint8)
        room = np.asarray(Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC))
        save(folder / "rooms" / f"{number}.png", room)
        save(folder / "visitors" / f"{number}.png", np.roll(room, moved, axis=1))
        save(folder / "maps" / f"{number}.png", depth)
    return folder / "rooms", folder / "visitors", folder / "maps", depth


def read_depth(path):
    return np.asarray(Image.open(path)) / 65535


def test_the_depth_of_the_background_is_seen_and_moves_with_it(model_with_depth, tmp_path):
    rooms, visitors, maps, depth = make_rooms(tmp_path, moved=4)
    (outcome,) = predict(
        rooms / "0.png", visitors / "0.png", tmp_path / "out", model_with_depth, background_depth=maps / "0.png"
    )
    assert "moved 4.0, 0.0 px" in outcome.note
    there = read_depth(tmp_path / "out" / "0_depth.png")
    np.testing.assert_allclose(there[8:-8, 12:-12], depth[8:-8, 8:-16] / 255, atol=0.01)


@pytest.mark.parametrize(("is_estimated", "known"), [(False, 1), (True, 0.5)])
def test_a_network_is_told_whether_a_depth_map_is_an_estimate(
    is_estimated, known, model_with_depth, sees_depth, monkeypatch, tmp_path
):
    seen = []
    fuse = sees_depth.fusion.forward
    monkeypatch.setattr(sees_depth.fusion, "forward", lambda *maps: seen.append(maps) or fuse(*maps))
    rooms, visitors, maps, _ = make_rooms(tmp_path, moved=4)
    files = rooms / "0.png", visitors / "0.png"
    predict(
        *files, tmp_path / "out", model_with_depth, background_depth=maps / "0.png", depth_is_estimated=is_estimated
    )
    told = seen[-1][1][:, 1]  # how the depth of the background is known
    torch.testing.assert_close(told, torch.full_like(told, known), rtol=0, atol=0.01)


def test_a_folder_of_depth_maps_goes_by_name_and_says_what_it_lacks(model_with_depth, tmp_path, capsys):
    rooms, visitors, maps, depth = make_rooms(tmp_path, count=3)
    (maps / "1.png").unlink()
    for number in range(3):  # so that they are not the same picture twice
        save(visitors / f"{number}.png", np.asarray(Image.open(visitors / f"{number}.png")) // 2 + 60)
    predict(rooms, visitors, tmp_path / "out", model_with_depth, background_depth=maps)
    assert f"{maps} has no depth map for 1 of 3 pairs: predicted without" in capsys.readouterr().err
    known = [np.abs(read_depth(tmp_path / "out" / f"{number}_depth.png") - depth / 255).mean() for number in range(3)]
    assert known[0] < 0.01
    assert known[1] > 0.1
    assert known[2] < 0.01


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda depth: 255 - depth, "seems to have near and far the other way round (correlation -0."),
        (lambda depth: np.roll(depth, 48, axis=0), "seems to be the depth of another scene (correlation -0."),
        (lambda depth: depth[:, :64], "its depth map has 64 x 64 pixels, the composite 96 x 64"),
    ],
)
def test_a_depth_map_that_is_not_of_the_background_is_told(model_with_depth, tmp_path, change, told):
    rooms, visitors, maps, depth = make_rooms(tmp_path, count=2, moved=2)
    save(maps / "0.png", change(depth))
    outcomes = predict(rooms, visitors, tmp_path / "out", model_with_depth, background_depth=maps)
    assert told in outcomes[0].note
    assert told not in outcomes[1].note


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        ("maps/0.png", "0.png is one map, of 2 backgrounds; name a folder of such"),
        ("nowhere", "nowhere is missing; expected a depth map, or a folder of such"),
        ("others", "that of a background, such as"),
    ],
)
def test_depth_maps_that_belong_to_nothing_are_an_error(model_with_depth, tmp_path, depths, message):
    rooms, visitors, _, depth = make_rooms(tmp_path, count=2)
    save(tmp_path / "others" / "x.png", depth)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        predict(rooms, visitors, tmp_path / "out", model_with_depth, background_depth=tmp_path / depths)


def test_a_network_that_does_not_look_at_depth_says_so(model, tmp_path):
    rooms, visitors, maps, _ = make_rooms(tmp_path)
    with pytest.raises(ValueError, match="has not learned to look at the depth of the background; leave --background"):
        predict(rooms, visitors, tmp_path / "out", model, background_depth=maps)
