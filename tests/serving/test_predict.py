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
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.models.saved import save_network
from maskdepth.serving.predict import predict, predict_arrays

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
    network = build_network(NetworkSpec("dsunet", "background+composite", PLAIN, SIDE)).eval()
    with torch.no_grad():
        network.model.depth_head.weight *= 1000  # fresh weights hardly leave the middle of the range
    return network


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    save_network(trained, path)
    return path


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
    return {path.name: np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))}


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
    assert said[0] == "predict: visitor: left as it was"
    assert said[2].startswith("predict: visitor: moved 3.0, 3.0 px")
    assert (masks["moved"] != masks["still"]).mean() < 0.02 < (masks["as_is"] != masks["still"]).mean()


def test_two_rooms_are_predicted_and_doubted(model, tmp_path, capsys):
    room, other = save(tmp_path / "room.png", photograph(120, 160)), save(tmp_path / "other.png", draw(2, 120, 160))
    ((_, status, reason),) = predict(room, other, tmp_path / "out", model)
    assert (status, reason.split(":")[0]) == ("predicted", "these two pictures do not fit")
    assert "warning: other: these two pictures do not fit" in capsys.readouterr().err


def test_results_have_the_size_of_the_composite_and_say_what_the_arrays_say(trained, model, tmp_path, capsys):
    background, composite = draw(1, 45, 70), draw(2, 45, 70)
    files = save(tmp_path / "room.png", background), save(tmp_path / "chair.png", composite)
    mask_prob, depth = predict_arrays(trained, background, composite)
    threshold = float(np.median(mask_prob))
    outcomes = predict(*files, tmp_path / "out", model, threshold=threshold, probability=True, registers=False)
    written = open_all(tmp_path / "out")
    assert list(written) == ["chair.png", "chair_depth.png", "chair_mask.png", "chair_probability.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(written)
    np.testing.assert_array_equal(written["chair_mask.png"], np.where(mask_prob > threshold, 255, 0))
    np.testing.assert_array_equal(written["chair_depth.png"], (depth * 65535).round())
    np.testing.assert_array_equal(written["chair_probability.png"], (mask_prob * 255).round())
    assert written["chair.png"].shape == (165, 4 * 256 + 3 * 4, 3)
    assert outcomes == [("chair", "predicted", "")]
    assert capsys.readouterr().out == f"predict: 1 predicted, 0 failed; results in {tmp_path / 'out'}\n"


def test_the_network_sees_a_photograph_exactly_as_in_training(trained, model, tmp_path):
    """Large JPEG pictures are decoded at a fraction of their size there; here the same must happen."""
    smooth = np.asarray(Image.fromarray(draw(3, 6, 8)).resize((400, 300), Image.Resampling.BICUBIC))
    files = save(tmp_path / "b.jpg", smooth), save(tmp_path / "c.jpg", smooth[:, ::-1])
    predict(*files, tmp_path / "out", model)
    seen = [decode_picture(path.read_bytes(), "composite", SIDE, "dark").pixels for path in files]
    coarse = predict_arrays(trained, *seen).depth
    expected = np.asarray(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(open_all(tmp_path / "out")["c_depth.png"] / 65535, expected, atol=1e-5)


def test_the_picture_for_people_dims_all_but_the_object_and_shows_near_bright(model, trained, tmp_path):
    pictures = draw(1, 256, 256), draw(2, 256, 256)
    files = save(tmp_path / "b.png", pictures[0]), save(tmp_path / "c.png", pictures[1])
    threshold = float(np.median(predict_arrays(trained, *pictures).mask_prob))
    predict(*files, tmp_path / "out", model, threshold=threshold)
    written = open_all(tmp_path / "out")
    background, composite, alone, depth = (written["c.png"][:, start : start + 256] for start in range(0, 1040, 260))
    np.testing.assert_array_equal((background, composite), pictures)
    mask = written["c_mask.png"] > 0
    assert mask.any() and not mask.all()
    np.testing.assert_array_equal(alone[mask], composite[mask])
    np.testing.assert_array_equal(alone[~mask], composite[~mask] // 4)
    near, far = (np.unravel_index(pick(written["c_depth.png"]), mask.shape) for pick in (np.argmin, np.argmax))
    assert depth[near].sum() > depth[far].sum()


def test_a_turned_photograph_gives_upright_results(model, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side
    files = [save(tmp_path / f"{name}.jpg", draw(1, 30, 60), exif=turned) for name in "bc"]
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
                assert (other[name] != pixels).mean() < 0.01


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
    assert rows == [["name", "status", "reason"], *map(list, outcomes)]
    assert [row[:2] for row in rows[1:]] == [[name, "predicted" if name in "ag" else "failed"] for name in "abcdefg"]
    reasons = {name: reason for name, _, reason in outcomes}
    assert reasons["b"].startswith("b.png: it cannot be decoded:")
    assert reasons["c"] == "c.png: it is not a JPEG or PNG picture; convert it to PNG"
    assert reasons["d"].startswith("the background has 24 x 24 pixels, the composite 40 x 24; crop")
    assert reasons["e"] == f"no composite of this name in {composites}"
    assert reasons["f"] == "f.png: it has over 10,000 bytes; shrink it"
    assert len(open_all(tmp_path / "out")) == 2 * 3
    printed = capsys.readouterr()
    assert "predict: 2 predicted, 5 failed" in printed.out
    assert printed.err.count("warning: ") == 5


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
    assert [rows[name].status for name in "abcdef"] == ["failed"] * 5 + ["predicted"]
    assert all("it is a folder, a pipe or a device" in rows[name].reason for name in "abc")
    assert all("it leads nowhere" in rows[name].reason for name in "de")


def test_strict_fails_after_all_the_others_are_done(model, tmp_path):
    backgrounds, composites = write_folders(tmp_path)
    (composites / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 3 pairs failed, such as a: a\.png: it is not a JPEG or PNG picture"):
        predict(backgrounds, composites, tmp_path / "out", model, strict=True)
    assert len(open_all(tmp_path / "out")) == 2 * 3 and len(read_rows(tmp_path / "out")) == 4


def test_nothing_predicted_at_all_is_an_error(model, tmp_path):
    good, bad = save(tmp_path / "good.png", draw(1)), tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match=r"1 of 1 pairs failed, such as \w+: bad\.png: it is not a JPEG or PNG"):
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
        *(f"{outcome.name}{ending}.png" for ending in ("", "_mask", "_depth")),
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
    with pytest.raises(ValueError, match=r"3 of 3 pairs failed, such as a: .*\.safetensors answers with no numbers"):
        predict(backgrounds, composites, tmp_path / "out", tmp_path / "model.safetensors")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.csv"]


def test_settings_out_of_range_are_refused(model, tmp_path):
    for threshold, batch_size in ((0.0, 1), (1.0, 1), (0.5, 0)):
        with pytest.raises(ValueError, match=rf"found threshold {threshold:g} and batch size {batch_size}; expected"):
            predict("b.png", "c.png", tmp_path, model, threshold=threshold, batch_size=batch_size)
