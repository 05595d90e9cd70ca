"""Proves that a secret is written nowhere, that no data is run as code, and that the project opens no port."""

import ast
import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from faults.doors import Door, false_server, tracking_server, whole_answer
from support.tracked import write_experiment
from support.trained import ROOT, start_stage, write_small_params

from maskdepth.params import load_params
from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.live import start_mirror
from stages.report import main as report_stage

CANARY = "SECRETCANARY"
USER = "canary-user"
ROW_FILE = Path("metrics/mlflow.json")
# As HTTP sends it, and in the alignments that base64 may give it.
SPELLINGS = [CANARY.encode(), base64.b64encode(f"{USER}:{CANARY}".encode()).rstrip(b"=")]
SOURCES = sorted(path for folder in ("src", "stages", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
RUNS_CODE = re.compile(r"eval|exec|os\.system|os\.popen|(pickle|marshal|dill|joblib|shelve)\.(load|loads|open)")
OPENS_A_PORT = re.compile(
    r"\bsocketserver\b|\bhttp\.server\b|\bcreate_server\(|\.listen\(|\.bind\(|\buvicorn\b|\bflask\b"
)

# MLflow and its libraries use what they themselves have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


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


def test_nothing_of_ours_waits_for_connections_but_the_page_that_is_asked_for():
    """What else is looked at in a browser, `mlflow ui`, is started by its user, and listens on the loopback alone."""
    listening = [path for path in SOURCES if "benchmarks" not in path.parts and OPENS_A_PORT.search(path.read_text())]
    assert [path.name for path in listening] == ["demo.py"]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A repository in which the six stages have run, and whose store is a server with a login in its address."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{CANARY}@127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path)
    return tmp_path


def test_an_address_with_a_password_is_refused_without_showing_it(nowhere):
    for command in (locate_store, sync):
        with pytest.raises(
            ValueError, match=r"http://\*\*\*@127\.0\.0\.1:9 holds a login .* MLFLOW_TRACKING_PASS"
        ) as told:
            command()
        assert CANARY not in str(told.value)
    (finding,) = repair.check_store()
    assert "***@127.0.0.1" in finding
    assert CANARY not in finding
    assert find_canary(nowhere) == []


@pytest.mark.parametrize(
    "address",
    [
        f"http://{USER}:{CANARY}@127.0.0.1:9/api",
        f"http://{USER}:a/{CANARY}/b@127.0.0.1:9",
        f"http://{USER}:a#{CANARY}@127.0.0.1:9",
        f"http://{USER}:a?{CANARY}@127.0.0.1:9",
        f"http://{USER}:a@{CANARY}@127.0.0.1:9",
        f"http://{USER}:a {CANARY}@127.0.0.1:9",
        f"http://{USER}:{CANARY}%40127.0.0.1:9",
        f"http://{CANARY}@127.0.0.1:9",
        f"http:/{USER}:{CANARY}@127.0.0.1:9",
        f"HTTPS:{USER}:{CANARY}@127.0.0.1:9",
        f"{USER}:{CANARY}@127.0.0.1:9",
        f"//{USER}:{CANARY}@127.0.0.1:9",
        f"{CANARY}@127.0.0.1:9",
        f"http://127.0.0.1:9?token={CANARY}",
        f"http://127.0.0.1:9/api?mail=a@{CANARY}",
        f"http://127.0.0.1:9/#token={CANARY}",
        f"postgresql+pg8000://{USER}:a/{CANARY}@127.0.0.1:9/runs",
        f"postgresql+pg8000://127.0.0.1:9/runs?password={CANARY}",
        f"postgresql+pg8000://{USER}@127.0.0.1:9/runs?sslmode=require&sslpassword={CANARY}",
        f"postgresql://127.0.0.1:9/runs?user={USER}&PassWord%3D{CANARY}",
        f"mysql+pymysql://127.0.0.1:9/runs?ssl_key=a&passwd={CANARY}",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dodbc%3BUID%3Dsa%3BPWD%3D{CANARY}",
    ],
)
def test_a_secret_anywhere_in_an_address_is_refused_without_showing_it(nowhere, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    journal = nowhere / "journals" / "train.jsonl"
    for command in (locate_store, report, sync, lambda: start_mirror(journal, load_params())):
        with pytest.raises(ValueError, match="MLFLOW_TRACKING_PASS") as told:
            command()
        assert CANARY not in str(told.value)
    assert CANARY not in "".join(repair.check_store())
    assert find_canary(nowhere) == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [  # a driver that is not installed
        (f"postgresql+pg8000://127.0.0.1:9/runs?passfile={CANARY}", "postgresql+pg8000://127.0.0.1:9/runs***"),
        (f"postgresql+pg8000://{CANARY}@127.0.0.1:9/runs", "postgresql+pg8000://***@127.0.0.1:9/runs"),
        # a scheme that MLflow does not know, and names with the whole address
        (f"other://{CANARY}@127.0.0.1:9/runs?user={CANARY}", "other://***@127.0.0.1:9/runs***"),
    ],
)
def test_the_address_of_a_database_is_shown_without_its_user_and_query(nowhere, monkeypatch, capfd, address, shown):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mirror = start_mirror(nowhere / "journals" / "train.jsonl", load_params())
    assert "tracking: the store did not take everything" in mirror.finish(60)
    report()
    printed = [*sync(), *repair.check_store(), *capfd.readouterr(), (mirror.folder / "mirror.log").read_text()]
    assert f"({shown}: " in printed[-3]
    assert printed[-1]
    assert CANARY not in "".join(printed)
    assert find_canary(nowhere) == []


def echo(request):
    """Repeat all that was sent, as a proxy may do in its page about an error, and once more as an address would."""
    header = re.search(rb"(?i)authorization: basic (\S+)", request)
    login = base64.b64decode(header[1])
    return [whole_answer(b"%s %s %s" % (header[0], login, quote(login).encode()), "403 Forbidden")]


@pytest.mark.parametrize("secret", [CANARY, f"a b/{CANARY}?ü", f'"{CANARY}\\'])
def test_a_proxy_that_repeats_the_login_puts_it_nowhere(nowhere, monkeypatch, capfd, secret):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    with false_server(echo) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        mirror = start_mirror(nowhere / "journals" / "train.jsonl", load_params())
        mirror.finish(60)
        report()
        log = (mirror.folder / "mirror.log").read_text()
        printed = "".join([*sync(), *repair.check_store(), *capfd.readouterr(), log])
    assert re.search("authorization: Basic ", ROW_FILE.read_text(), re.IGNORECASE)
    for text in (printed, ROW_FILE.read_text()):
        for spelling in (CANARY, USER, *(b64(f"{USER}:{secret}", code) for code in ("utf-8", "latin-1"))):
            assert spelling not in text
    assert find_canary(nowhere) == []


def b64(text, code):
    return base64.b64encode(text.encode(code)).decode().rstrip("=")


def report():
    report_stage(Path("journals"), Path("models"), Path("measured/train.json"), Path("measured/test.json"), ROW_FILE)


def sync():
    return list(repair.sync(1, ROW_FILE))


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


@pytest.mark.nightly
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
