"""Proves that a secret is written nowhere, that no data is run as code, and that the project opens no port."""

import ast
import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from faults.doors import Door, tracking_server
from trained import ROOT, start_stage, write_small_params

from maskdepth.tracking import maintenance
from maskdepth.tracking.store import locate_store

CANARY = "SECRETCANARY"
USER = "canary-user"
# As HTTP sends it, and in the alignments that base64 may give it.
SPELLINGS = [CANARY.encode(), base64.b64encode(f"{USER}:{CANARY}".encode()).rstrip(b"=")]
SOURCES = sorted(path for folder in ("src", "stages", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
RUNS_CODE = re.compile(r"eval|exec|os\.system|os\.popen|(pickle|marshal|dill|joblib|shelve)\.(load|loads|open)")
OPENS_A_PORT = re.compile(
    r"\bsocketserver\b|\bhttp\.server\b|\bcreate_server\(|\.listen\(|\.bind\(|\buvicorn\b|\bflask\b"
)


def is_unsafe(call):
    """Tell whether a call runs what it reads, or a shell."""
    name = ast.unparse(call.func)
    words = {word.arg: ast.unparse(word.value) for word in call.keywords}
    return (
        RUNS_CODE.fullmatch(name)
        or (name == "torch.load" and words.get("weights_only") != "True")
        # Without a type it keeps comments, and makes no objects either.
        or (name.endswith("YAML") and words.get("typ", "'rt'") not in ("'safe'", "'rt'"))
        or words.get("allow_pickle", "False") != "False"
        or words.get("shell", "False") != "False"
    )


def test_no_file_or_setting_is_run_as_code():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        unsafe = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and is_unsafe(node)]
        assert unsafe == [], path
        assert not re.search(r"^\s*(import|from) yaml\b", path.read_text(), re.MULTILINE), (
            "its plain load makes objects"
        )


@pytest.mark.parametrize(
    "unsafe",
    ["torch.load(p)", "pickle.loads(b)", "np.load(p, allow_pickle=True)", "run(c, shell=True)", "YAML(typ='unsafe')"],
)
def test_what_is_looked_for_is_found(unsafe):
    assert is_unsafe(ast.parse(unsafe).body[0].value)


def test_nothing_of_ours_waits_for_connections():
    """What is looked at in a browser, `mlflow ui`, is started by its user, and listens on the loopback alone."""
    listening = [path for path in SOURCES if "benchmarks" not in path.parts and OPENS_A_PORT.search(path.read_text())]
    assert listening == []


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A repository whose store is a server with a login in its address."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{CANARY}@127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_address_with_a_password_is_refused_without_showing_it(nowhere):
    for command in (locate_store, lambda: maintenance.sync(1, Path("metrics/mlflow.json"))):
        with pytest.raises(
            ValueError, match=r"http://\*\*\*@127\.0\.0\.1:9 holds a login, .* MLFLOW_TRACKING_PASS"
        ) as told:
            command()
        assert CANARY not in str(told.value)
    (finding,) = maintenance.check_store()
    assert "***@127.0.0.1" in finding
    assert CANARY not in finding
    assert find_canary(nowhere) == []


def find_canary(folder):
    """List the files below a folder that hold the secret."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(spelling in path.read_bytes() for spelling in SPELLINGS)
    ]


def run_command(repository, name, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "maskdepth.cli", name], cwd=repository, env=kept | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_password_is_in_no_output_and_no_file_whether_the_server_is_there_or_not(repository, tmp_path):
    write_small_params(repository, epochs=1)
    served = tmp_path / "served"
    served.mkdir()
    with tracking_server(served) as port:
        door = Door(port)
        login = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": CANARY}
        server = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{door.port}", **login}
        printed = [run_all(repository, stage, **server) for stage in ("train", "evaluate", "report")]
        printed.append(run_command(repository, "doctor", **server))
        assert "waits in the outbox" in printed[2]
        door.open()
        printed.append(run_command(repository, "sync", **server))
        assert ": sent" in printed[-1]
        door.shut()
    assert not [text for text in printed if CANARY in text]
    assert find_canary(repository) == find_canary(served) == []
    assert (served / "server.db").stat().st_size > 0


def run_all(repository, stage, **environment):
    """Run a stage; give all that it printed."""
    process = start_stage(repository, stage, **environment)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return stdout + stderr
