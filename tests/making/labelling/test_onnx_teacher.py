"""Proves that any ONNX network for depth makes labels, that nothing of it is guessed, and that others are refused."""

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from support.toy import write_toy_archive
from typer.testing import CliRunner

from maskdepth.cli.program import app
from maskdepth.data.archives.archive import find_archives
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.making.labelling.labels import label_depth
from maskdepth.making.labelling.onnx_teacher import (
    FAR,
    LARGER_KEY,
    LICENCE_KEY,
    NEAR,
    PIXELS_KEY,
    Wanted,
    load_onnx_teacher,
    open_onnx,
)
from maskdepth.making.labelling.teacher import predict_distances

HEIGHT, WIDTH = 24, 32  # [px]
ANY = Wanted(None, None, None)
METADATA = {PIXELS_KEY: "bytes"}


def save_network(
    path,
    shape=(1, 3, HEIGHT, WIDTH),
    nodes=(("ReduceMean", ["pictures", "channels"], ["depth"], {}),),
    outputs=("depth",),
    metadata=None,
    dtype=TensorProto.FLOAT,
    domain="",
    channels=1,
):
    """Save a network that takes brightness for its answer: the mean over the channels, or what `nodes` make of it."""
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, domain=domain, **values) for kind, ins, outs, values in nodes],
        "brightness",
        [helper.make_tensor_value_info("pictures", dtype, shape)],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [helper.make_tensor("channels", TensorProto.INT64, [1], [channels])],
    )
    imports = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    helper.set_model_props(model, METADATA if metadata is None else metadata)
    onnx.save(model, path)
    return path


def draw(seed=0, size=(WIDTH, HEIGHT)):
    """A picture that is brighter below, as a network's answer is where larger is near."""
    down = np.linspace(60, 200, size[1])[:, None, None]
    noise = np.random.default_rng(seed).uniform(-20, 20, (size[1], size[0], 3))
    return Image.fromarray((down + noise).round().astype(np.uint8))


def load(path, wanted=ANY, pictures=None):
    return load_onnx_teacher(open_onnx(path), "mit", wanted, [draw(0), draw(1)] if pictures is None else pictures)


def brightness(picture):
    return np.asarray(picture, np.float64).mean(2)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        draw(number, (WIDTH, HEIGHT) if number % 2 else (2 * WIDTH, 2 * HEIGHT)).save(folder / f"{number}.png")
    return folder


def make(pictures, out, checkpoint, **options):
    return label_depth(pictures, out, str(checkpoint), 2, False, torch.device("cpu"), **options)


def test_the_answer_is_that_of_the_network_with_far_above_near(tmp_path):
    picture = draw()
    (distance,) = predict_distances(load(save_network(tmp_path / "n.onnx")), [picture])
    np.testing.assert_allclose(distance, -brightness(picture), atol=1e-3)


@pytest.mark.parametrize(
    ("pixels", "mean", "deviation"),
    [
        ("bytes", 0, 1 / 255),
        ("unit", 0, 1),
        ("signed", 0.5, 0.5),
        ("imagenet", np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
    ],
)
def test_pixels_become_the_numbers_that_are_said(pixels, mean, deviation, tmp_path):
    picture = draw()
    expected = ((np.asarray(picture) / 255 - mean) / deviation).mean(2)
    path = save_network(tmp_path / "n.onnx", metadata={PIXELS_KEY: pixels})
    (by_metadata,) = predict_distances(load(path), [picture])
    (by_option,) = predict_distances(load(save_network(path, metadata={}), Wanted(pixels, None, None)), [picture])
    np.testing.assert_allclose(by_metadata, -expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(by_option, by_metadata)


def test_what_the_user_says_wins_over_the_file(tmp_path):
    path = save_network(tmp_path / "n.onnx", metadata={PIXELS_KEY: "unit"})
    (distance,) = predict_distances(load(path, Wanted("bytes", None, None)), [draw()])
    np.testing.assert_allclose(distance, -brightness(draw()), atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "channels", "dtype"),
    [
        ((1, 3, HEIGHT, WIDTH), 1, TensorProto.FLOAT),
        (("n", 3, HEIGHT, WIDTH), 1, TensorProto.FLOAT),
        ((4, 3, HEIGHT, WIDTH), 1, TensorProto.FLOAT),
        ((1, HEIGHT, WIDTH, 3), 3, TensorProto.FLOAT),
        ((1, 3, HEIGHT, WIDTH), 1, TensorProto.FLOAT16),
    ],
)
def test_any_batch_order_and_precision_gives_the_same_maps(shape, channels, dtype, tmp_path):
    path = save_network(tmp_path / "n.onnx", shape, channels=channels, dtype=dtype)
    some = [draw(number) for number in range(5)]
    found = predict_distances(load(path), some)
    for picture, distance in zip(some, found, strict=True):
        np.testing.assert_allclose(distance, -brightness(picture), atol=0.2 if dtype == TensorProto.FLOAT16 else 1e-3)


def test_bytes_are_taken_as_they_are(tmp_path):
    nodes = [
        ("Cast", ["pictures"], ["numbers"], {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["numbers", "channels"], ["depth"], {}),
    ]
    path = save_network(tmp_path / "n.onnx", nodes=nodes, dtype=TensorProto.UINT8)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
    (distance,) = predict_distances(load(path), [draw()])
    np.testing.assert_allclose(distance, -brightness(draw()), atol=1e-3)


def test_a_map_smaller_than_its_picture_comes_back_at_the_picture_s_size(tmp_path):
    nodes = [
        ("ReduceMean", ["pictures", "channels"], ["full"], {}),
        ("AveragePool", ["full"], ["depth"], {"kernel_shape": [4, 4], "strides": [4, 4]}),
    ]
    picture = draw(size=(80, 60))
    (distance,) = predict_distances(load(save_network(tmp_path / "n.onnx", nodes=nodes)), [picture])
    assert distance.shape == (60, 80)
    assert np.corrcoef(distance.ravel(), -brightness(picture).ravel())[0, 1] > 0.9


def test_near_is_told_by_the_ground_and_said(tmp_path, capsys):
    path = save_network(tmp_path / "n.onnx")
    turned = [Image.fromarray(255 - np.asarray(draw(number))) for number in range(3)]
    assert load(path).facts["output"] == "relative inverse depth"
    assert "are near, as in 2 of 2 pictures the ground, below, is larger" in capsys.readouterr().out
    assert load(path, pictures=turned).facts["output"] == "relative depth"
    assert "are far, as in 3 of 3 pictures the ground, below, is smaller" in capsys.readouterr().out
    (distance,) = predict_distances(load(path, pictures=turned), [turned[0]])
    np.testing.assert_allclose(distance, brightness(turned[0]), atol=1e-3)


@pytest.mark.parametrize("pictures", [[draw(0), Image.fromarray(255 - np.asarray(draw(0)))], []])
def test_pictures_that_do_not_show_what_is_near_are_said(pictures, tmp_path):
    path = save_network(tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"n\.onnx does not say which end is near, .* give --larger near, or --larg"):
        load(path, pictures=pictures)
    assert load(path, Wanted(None, FAR, None), pictures).facts["output"] == "relative depth"


def test_what_is_said_wins_over_what_is_seen_and_the_difference_is_told(tmp_path, capsys):
    path = save_network(tmp_path / "n.onnx", metadata=METADATA | {LARGER_KEY: FAR})
    assert load(path).facts["output"] == "relative depth"
    told = capsys.readouterr()
    assert "said to be far, but in 2 of 2 pictures the ground, below, is larger: look at some labels" in told.err
    assert load(path, Wanted(None, NEAR, None)).facts["output"] == "relative inverse depth"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "wanted", "message"),
    [
        ({"metadata": {}}, ANY, r"n\.onnx does not say what it takes for pixels; give --pixels bytes, unit, signed, i"),
        ({"metadata": {PIXELS_KEY: "x"}}, ANY, r"maskdepth\.pixels of its metadata is 'x'; known: bytes, unit, signed"),
        ({}, Wanted("x", None, None), r"--pixels is 'x'; known: bytes, unit, signed, imagenet"),
        ({}, Wanted(None, "x", None), r"--larger is 'x'; known: near, far"),
        (
            {"shape": (1, 3, "h", "w")},
            ANY,
            r"leaves the size of its pictures open: it takes pictures tensor\(float\) \[1, 3, 'h', 'w'\]; give --input",
        ),
        ({}, Wanted(None, None, 64), r"takes pictures of 32 x 24 px and no others; leave --input-size out"),
        (
            {"shape": (1, 1, HEIGHT, WIDTH)},
            ANY,
            r"is no network for pictures: it takes pictures tensor\(float\) \[1, 1,",
        ),
        ({"shape": (1, 3)}, ANY, "is no network for pictures"),
        ({"dtype": TensorProto.DOUBLE}, ANY, r"is no network for pictures: it takes pictures tensor\(double\)"),
        (
            {"nodes": [("GlobalAveragePool", ["pictures"], ["depth"], {})]},
            ANY,
            r"is no network for depth: it gives depth \[1, 3, 1, 1\]; expected one map of a number a pixel, such as",
        ),
        (
            {"nodes": [("Relu", ["pictures"], ["depth"], {})]},
            ANY,
            r"is no network for depth: it gives depth \[1, 3, 24",
        ),
        (
            {
                "nodes": [
                    ("ReduceMean", ["pictures", "channels"], ["depth"], {}),
                    ("ReduceMax", ["pictures", "channels"], ["other"], {}),
                ],
                "outputs": ("depth", "other"),
            },
            ANY,
            r"it gives depth \[1, 1, 24, 32\], other \[1, 1, 24, 32\]; expected one map",
        ),
        ({"nodes": [("Depth", ["pictures"], ["depth"], {})], "domain": "nowhere"}, ANY, "does not have: .*[Dd]epth"),
    ],
)
def test_what_is_no_network_for_depth_is_refused_in_one_line(changes, wanted, message, tmp_path):
    path = save_network(tmp_path / "n.onnx", **changes)
    with pytest.raises(ValueError, match=message) as raised:
        load(path, wanted)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value) or str(raised.value).startswith("--")


def test_an_open_size_is_what_is_asked_for(tmp_path):
    path = save_network(tmp_path / "n.onnx", ("n", 3, "h", "w"))
    teacher = load(path, Wanted(None, None, 16))
    assert teacher.facts["input"] == {"height": 16, "width": 16, "pixels": "bytes"}
    (distance,) = predict_distances(teacher, [draw()])
    assert distance.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None])
def test_a_file_that_was_cut_or_is_something_else_is_refused_in_one_line(content, tmp_path):
    path = save_network(tmp_path / "n.onnx")
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=r"n\.onnx is damaged, or needs what ONNX Runtime does not have: ") as raised:
        load(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_and_a_runtime_that_is_not_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no\.onnx is missing; name an ONNX file"):
        open_onnx(tmp_path / "no.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'maskdepth\[depth\]'"):
        open_onnx(save_network(tmp_path / "n.onnx"))


def test_labels_are_made_and_what_was_stopped_goes_on_to_the_same_bytes(pictures, tmp_path, capsys):
    path = save_network(tmp_path / "n.onnx", metadata=METADATA | {LICENCE_KEY: "MIT"})
    summary = make(pictures, tmp_path / "labels", path)
    assert (summary["labels"], summary["teacher"]["licence"]) == (5, "mit")
    whole = {label.name: label.read_bytes() for label in (tmp_path / "labels").glob("*.png")}
    far_above_near = np.asarray(Image.open(tmp_path / "labels" / "1.png")).astype(float)
    assert far_above_near[:8].mean() > far_above_near[-8:].mean() + 20000
    (tmp_path / "labels" / "3.png").unlink()
    capsys.readouterr()
    make(pictures, tmp_path / "labels", path)
    assert "5 labels" in (out := capsys.readouterr().out)
    assert "4 of them from before" in out
    assert {label.name: label.read_bytes() for label in (tmp_path / "labels").glob("*.png")} == whole


def test_another_file_is_refused_in_the_same_folder(pictures, tmp_path):
    make(pictures, tmp_path / "labels", save_network(tmp_path / "n.onnx"))
    other = save_network(tmp_path / "other.onnx", metadata=METADATA | {"note": "retrained"})
    with pytest.raises(ValueError, match=r"holds labels made with .*n\.onnx.* choose another folder"):
        make(pictures, tmp_path / "labels", other)


def test_weights_for_research_only_want_permission(pictures, tmp_path):
    path = save_network(tmp_path / "n.onnx", metadata=METADATA | {LICENCE_KEY: "CC-BY-NC-4.0"})
    with pytest.raises(ValueError, match=r"cc-by-nc-4\.0: no commercial use"):
        make(pictures, tmp_path / "labels", path)


def test_what_is_said_of_files_alone_is_refused_for_others(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"--pixels and --larger are for ONNX files; nobody/nothing says by itself"):
        make(pictures, tmp_path / "labels", "nobody/nothing", pixels="bytes")


def test_a_file_of_another_kind_is_refused(pictures, tmp_path):
    (tmp_path / "network.pt2").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"network\.pt2: of files only ONNX \(\.onnx\) is read"):
        make(pictures, tmp_path / "labels", str(tmp_path / "network.pt2"))


@pytest.mark.parametrize("layout", ["sudhakarmlal", "mshilpaa", "sajnanshetty", "sumankanukollu", "deepjyotisaha85"])
def test_backgrounds_get_one_map_each_in_the_names_of_their_layout(layout, tmp_path):
    flips = (0,) if layout == "sumankanukollu" else (0, 1)
    write_toy_archive(tmp_path / "raw", layout, flips=flips, name="batch1_images.zip")
    if layout == "sudhakarmlal":  # a copy of each background in every archive
        write_toy_archive(tmp_path / "raw", layout, foregrounds=(3,), name="batch2_images.zip")
    path = save_network(tmp_path / "n.onnx")
    made = make(tmp_path / "raw", tmp_path / "raw" / "labels", path, layout=layout, backgrounds=True, larger=NEAR)
    assert made["labels"] == 3
    known = read_layouts()[layout]
    names = [archive.path_of(member) for archive in find_archives(tmp_path / "raw") for member in archive.members()]
    found = [
        one.ids["background"] for name in names if (one := known.recognise(name)) and one.kind == "background_depth"
    ]
    assert sorted(found) == ["1", "2", "3"]


def test_two_backgrounds_of_one_number_are_named(tmp_path):
    for number, folder in enumerate(("a", "b")):
        (tmp_path / "raw" / folder / "bg_jpg").mkdir(parents=True)
        draw(number).save(tmp_path / "raw" / folder / "bg_jpg" / "bg_img_1.jpg")
    with pytest.raises(ValueError, match=r"a/bg_jpg/bg_img_1\.jpg and .*b/bg_jpg/bg_img_1\.jpg are one background and"):
        make(tmp_path / "raw", tmp_path / "out", "n.onnx", layout="sudhakarmlal", backgrounds=True)


def test_backgrounds_without_a_layout_cannot_be_told(pictures, tmp_path):
    with pytest.raises(ValueError, match="which pictures are backgrounds, a layout says; name it with --layout"):
        make(pictures, tmp_path / "labels", "n.onnx", backgrounds=True)


def test_the_command_says_what_is_missing_in_one_line(pictures, tmp_path):
    path = save_network(tmp_path / "n.onnx", metadata={})
    done = CliRunner().invoke(
        app, ["label-depth", str(pictures), "--out", str(tmp_path / "o"), "--checkpoint", str(path)]
    )
    assert isinstance(done.exception, ValueError)
    options = ["--pixels", "bytes", "--larger", "near"]
    done = CliRunner().invoke(
        app, ["label-depth", str(pictures), "--out", str(tmp_path / "o"), "--checkpoint", str(path), *options]
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "o" / ".provenance.json").read_text())["labels"] == 5


@pytest.mark.realdata
def test_a_real_network_sees_which_end_is_near_on_real_backgrounds(real_data, tmp_path):
    (network,) = (real_data / "teachers").glob("*.onnx")
    raw = real_data / "layout2_mshilpaa"
    made = make(raw, tmp_path / "labels", network, layout="mshilpaa", backgrounds=True, pixels="bytes")
    assert made["teacher"]["output"] == "relative inverse depth"
    assert made["labels"] == len(list((raw / "Background").iterdir()))
    assert made["saturated"] < 0.1
