"""Proves that the page answers whoever sits at it, and refuses the rest in one line."""

import base64
import http.client
import json
import re
import socket
import threading

import pytest
import torch
from PIL import Image
from support.browser import draw_page, read_page, require_browser

from maskdepth.making.drawing.pair import draw_pair
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.serving.answers import PairPredictor
from maskdepth.serving.demo import make_server
from maskdepth.serving.exporting import export_network


@pytest.fixture(scope="module")
def server():
    """A page with a network that has not been trained."""
    torch.manual_seed(0)
    halves = (0.5, 0.5, 0.5)
    spec = NetworkSpec("dsunet", "background+composite", Normalisation(halves, halves, halves, halves), image_size=32)
    server = make_server(PairPredictor(export_network(build_network(spec).eval())), draw_pair, port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def request(pair, **more):
    names = ("background", "composite")
    encoded = {name: base64.b64encode(data).decode() for name, data in zip(names, pair, strict=True)}
    return json.dumps(encoded | more)


def test_a_pair_is_answered_with_pictures_of_its_size(server):
    status, body, _ = ask(server, "POST", "/predict", request(draw_pair(0)))
    answer = json.loads(body)
    assert status == 200
    assert (answer["width"], answer["height"]) == (320, 320)
    assert base64.b64decode(answer["mask"]).startswith(b"\x89PNG")


def test_a_sample_is_a_pair_that_can_be_asked(server):
    status, body, _ = ask(server, "GET", "/sample/3")
    pair = [base64.b64decode(json.loads(body)[name]) for name in ("background", "composite")]
    assert status == 200
    assert tuple(pair) == draw_pair(3)


def test_the_page_takes_nothing_from_elsewhere(server):
    _, body, headers = ask(server, "GET", "/")
    assert not re.search(rb"https?://", body)
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "told"),
    [
        ("POST", "/predict", "{", {}, 400, "expected JSON"),
        ("POST", "/predict", "[1]", {}, 400, "expected JSON"),
        ("POST", "/predict", '{"background": ""}', {}, 400, "expected JSON"),
        ("POST", "/predict", '{"background": "x", "composite": 5}', {}, 400, "background"),
        ("POST", "/predict", "", {"Content-Length": "999999999"}, 413, "at most"),
        ("POST", "/predict", "", {"Content-Length": "many"}, 413, "at most"),
        ("POST", "/elsewhere", "{}", {}, 404, "nothing here"),
        ("GET", "/sample/-1", None, {}, 404, "nothing here"),
        ("GET", "/../pyproject.toml", None, {}, 404, "nothing here"),
        ("GET", "/", None, {"Host": "evil.example:80"}, 403, "for the machine"),
        ("POST", "/predict", "{}", {"Host": "evil.example"}, 403, "for the machine"),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(server, method, path, body, headers, status, told):
    found, answer, _ = ask(server, method, path, body, **headers)
    assert found == status
    assert told in json.loads(answer)["error"]


def test_a_text_as_a_picture_is_refused_by_its_name(server):
    status, body, _ = ask(server, "POST", "/predict", request((b"hello", draw_pair(0)[1])))
    assert status == 400
    assert json.loads(body)["error"].startswith("background")


def test_a_port_in_use_is_told(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="choose another --port"):
            make_server(None, draw_pair, port=taken.getsockname()[1])


@pytest.mark.slow
def test_a_browser_shows_no_results_before_there_are_any(server, tmp_path):
    require_browser()
    draw_page(f"http://127.0.0.1:{server.server_port}/", tmp_path / "page.png", 1100, 900)
    below_the_buttons = Image.open(tmp_path / "page.png").convert("L").crop((0, 450, 1100, 900))
    assert below_the_buttons.getextrema() == (255, 255)


@pytest.mark.slow
def test_a_browser_shows_what_was_predicted(server, tmp_path):
    require_browser()
    address = f"http://127.0.0.1:{server.server_port}/#sample"
    page = read_page(address, 1100, 1400)
    assert "% of the picture" in page
    assert 'id="results"' in page and 'id="results" hidden' not in page
    draw_page(address, tmp_path / "page.png", 1100, 1400)
    assert (tmp_path / "page.png").stat().st_size > 50_000
