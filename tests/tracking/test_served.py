"""A model that MLflow serves answers the documented client, and refuses in one line what cannot be used."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from faults.doors import free_port, wait_for_health
from PIL import Image, ImageDraw
from support.tracked import write_experiment, write_weights

from maskdepth.params import load_params
from maskdepth.promotion import promote
from maskdepth.tracking.mirror import mirror_rows
from maskdepth.tracking.runs import put_experiment_row

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "SERVING.md").read_text()

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of MLflow, about itself


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Serve the champion of a store, as the guide says; give the port."""
    root = tmp_path_factory.mktemp("served")
    (root / ".dvc").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
            patch.delenv(name)
        patch.setenv("DVC_ROOT", str(root))
        patch.chdir(root)
        promote_a_network(root)
    with serve(root) as port:
        yield port


def promote_a_network(root: Path) -> None:
    """Leave what a run leaves, send it, and make its model the champion."""
    write_experiment(root)
    write_weights(root / "models" / "model.safetensors")
    shutil.copy(root / "reports" / "pictures" / "best.png", root / "curves.png")
    paths = [Path(name) for name in ("journals", "models", "measured/train.json", "measured/test.json", "curves.png")]
    waiting = put_experiment_row(load_params(), *paths)
    sent = dict(mirror_rows(3600))[waiting.name]
    assert sent.is_complete, sent.reason
    *_, told = promote(sent.name, "score", None)
    assert told == "it is champion; there was no champion to compare it with"


@contextmanager
def serve(root: Path):
    (command,) = re.findall(r"^mlflow models serve (.*) --port 5001$", GUIDE, re.MULTILINE)
    port = free_port()
    known = {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    with (root / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *shlex.split(command), "--port", str(port)],
            cwd=root, env=os.environ | known | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for_health(port, server, seconds=600)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait()


def draw_pair(folder: Path) -> list[str]:
    """Draw a wall with some pictures on it, and somebody before it."""
    wall = Image.new("RGB", (320, 240), (180, 170, 150))
    pen = ImageDraw.Draw(wall)
    for number in range(12):
        left, top = 25 * number, (67 * number) % 190
        pen.rectangle((left, top, left + 18, top + 30), fill=(20 * number, 250 - 20 * number, 120))
    wall.save(folder / "room.jpg", quality=95)
    ImageDraw.Draw(wall).ellipse((150, 60, 230, 220), fill=(200, 30, 40))
    wall.save(folder / "visitor.jpg", quality=95)
    return ["room.jpg", "visitor.jpg"]


def ask(port: int, body: bytes | dict, kind: str = "application/json") -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_documented_client_gets_a_cut_out(port, tmp_path):
    (client,) = (block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "urllib" in block)
    assert len(client.strip().splitlines()) <= 12
    (tmp_path / "client.py").write_text(client.replace(":5001/", f":{port}/"))
    command = [sys.executable, "client.py", *draw_pair(tmp_path), "cutout.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"320 x 240 px, [\d.]+% object; left as it was\n", done.stdout)
    with Image.open(tmp_path / "cutout.png") as cutout:
        assert (cutout.size, cutout.mode) == ((320, 240), "RGBA")


def test_the_documented_request_is_answered_with_the_documented_fields(port, tmp_path):
    (asked,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    documented = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", GUIDE, re.MULTILINE)
    fields = [name for names in documented for name in re.findall(r"`(\w+)`", names)]
    pictures = [base64.b64encode((tmp_path / name).read_bytes()).decode() for name in draw_pair(tmp_path)]
    status, text = ask(port, asked.replace("<base64>", pictures[0], 1).replace("<base64>", pictures[1]).encode())
    assert status == 200
    (answer,) = json.loads(text)["predictions"]
    assert list(answer) == fields


def picture(tmp_path: Path, width: int, height: int) -> str:
    Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(tmp_path / "any.png")
    return base64.b64encode((tmp_path / "any.png").read_bytes()).decode()


def test_hostile_requests_are_refused_in_one_line(port, tmp_path):
    good = picture(tmp_path, 64, 48)
    refused = {
        base64.b64encode(b"hello").decode(): "composite: it is not a JPEG or PNG picture; convert it to PNG",
        "%": "composite: it is no base64 (Only base64 data is allowed); encode the file's bytes again",
        picture(tmp_path, 1, 1): "composite: it has 1 x 1 pixels; expected 16 or more a side",
        picture(tmp_path, 48, 64): "the background has 64 x 48 pixels, the composite 48 x 64; crop one of them to the "
        "width / height of the other",
        "A" * 100_000_000: "composite: it has over 32.0 MB; shrink it",
    }
    for composite, message in refused.items():
        status, text = ask(port, {"dataframe_records": [{"background": good, "composite": composite}]})
        assert (status, json.loads(text)) == (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": message})
    assert ask(port, {"dataframe_records": [{"background": good, "composite": good}]})[0] == 200  # and it goes on


def test_what_mlflow_refuses_itself_has_no_traceback(port, tmp_path):
    good = picture(tmp_path, 64, 48)
    pair = {"background": good, "composite": good}
    for body in (
        {"dataframe_records": []},
        {"dataframe_records": [{"background": good, "image": good}]},
        {"dataframe_records": [pair], "params": {"threshold": "high"}},
        {"background": good},
        b"hello",
    ):
        status, text = ask(port, body)
        assert status == 400
        assert "Traceback" not in text
        assert len(text) < 2000
    assert ask(port, b"{}", "text/plain")[0] == 415
