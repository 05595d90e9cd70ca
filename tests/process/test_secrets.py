"""A secret that the process was given leaves it in no spelling, whoever prints it."""

import base64
import json
import sys
from urllib.parse import quote

import pytest

from maskdepth.process.command import guard
from maskdepth.process.secrets import hide_secrets

SECRET = 'pa ss/wo"rd\\+é'
NAMES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
)


def spell(secret):
    quoted = quote(secret, safe="")
    return [secret, quoted, quoted.lower(), quote(secret), json.dumps(secret), repr(secret), b64(secret.encode())]


def b64(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_hidden_in_every_spelling(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)
    for spelling in spell(SECRET):
        hidden = hide_secrets(f"before {spelling.strip('=')} behind")
        assert hidden.replace('"', "").replace("'", "") == "before *** behind"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "MLFLOW_S3_ENDPOINT_URL"])
def test_the_login_of_an_address_is_hidden_by_itself(monkeypatch, name):
    monkeypatch.setenv(name, f"http://ann:{quote(SECRET, safe='')}@proxy.example.org:3128")
    for spelling in [*spell(SECRET), b64(f"ann:{SECRET}".encode()), b64(f"ann:{SECRET}".encode("latin-1"))]:
        assert "pa" not in hide_secrets(spelling).lower() and len(hide_secrets(spelling)) < 9


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".mlflow/credentials", "[mlflow]\nmlflow_tracking_username = ann\nmlflow_tracking_password = hunter22\n"),
        (".aws/credentials", "[default]\naws_access_key_id = x\naws_secret_access_key = hunter22\n"),
        (".netrc", "machine example.org login ann password hunter22\n"),
    ],
)
def test_what_libraries_read_themselves_from_files_is_hidden(monkeypatch, tmp_path, path, text):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    (tmp_path / path).chmod(0o600)
    assert hide_secrets("a hunter22 b") == "a *** b"
    (tmp_path / path).write_bytes(b"\xff[\n")
    assert hide_secrets("a hunter22 b") == "a hunter22 b"


def test_ordinary_lines_stay_as_they_are(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "train")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "abc")
    line = "train: 12 samples, a Basic thing, abc"
    assert hide_secrets(line) == line
    assert hide_secrets(line, also_login=True) == line.replace("train", "***")
    assert hide_secrets(f"Authorization: {b64(b'train:abc')}") == "Authorization: ***"


def test_all_that_a_command_prints_goes_without_secrets(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter22")

    def program():
        print("out hunter22")
        print("err hunter22", file=sys.stderr)
        raise ValueError("error hunter22")

    with pytest.raises(SystemExit):
        guard(program)
    assert capsys.readouterr() == ("out ***\n", "err ***\nerror: error ***\n")
    print("hunter22")
    assert capsys.readouterr().out == "hunter22\n"
