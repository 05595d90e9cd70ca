"""What must never leave a process: the secrets it was given for its tracking store, however they are spelled."""

import base64
import configparser
import json
import netrc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, quote_plus, unquote, urlsplit

_LOGIN = "MLFLOW_TRACKING_USERNAME"
_SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "DATABRICKS_TOKEN",
    "MYSQL_PWD",
    "PGPASSWORD",
)
# In which a login may stand, of the store or of a proxy on the way to it.
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_S3_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY")
# Files that MLflow, boto and requests read themselves.
_FILES = (".mlflow/credentials", ".aws/credentials")
# What HTTP sends in a header, whoever's it is.
_HEADER = re.compile(r"\b(Basic|Bearer) +[\w+/=.~-]{8,}")
_SHORTEST = 4  # a shorter value stands in any text, and protects nothing


def hide_secrets(text: str, also_login: bool = False) -> str:
    """Replace every secret in a text, plain or encoded as for addresses, JSON or an Authorization header.

    Args:
        text: Any text.
        also_login: Whether the name of the tracking server's user is hidden too; in our own lines it may be a word.

    >>> hide_secrets("sent Authorization: Basic YW5uOnNlY3JldA== to it")
    'sent Authorization: Basic *** to it'
    """
    passwords, logins = _read_passwords(), _read_logins()
    pairs = {f"{login}:{password}" for login in logins for password in passwords}
    spelled = {spelling for password in passwords if len(password) >= _SHORTEST for spelling in _spell(password)}
    spelled |= {spelling for pair in pairs for spelling in _encode(pair)}
    hidden = [re.escape(spelling) for spelling in sorted(spelled, key=len, reverse=True)]
    if also_login:
        hidden += [rf"\b{re.escape(login)}\b" for login in logins if len(login) >= _SHORTEST]
    if hidden:
        text = re.sub("|".join(hidden), "***", text, flags=re.IGNORECASE)
    return _HEADER.sub(r"\1 ***", text)


@contextmanager
def hiding_secrets() -> Iterator[None]:
    """Hide secrets in all that Python prints from here on, whichever library prints it.

    What ends the process with a traceback leaves it so: the traceback is printed later.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_hide_in, before)
    try:
        yield
    except SystemExit:
        sys.stdout, sys.stderr = before
        raise
    sys.stdout, sys.stderr = before


class _HidingStream:
    """Passes all on to a stream, texts without secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(hide_secrets(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _hide_in(stream: TextIO) -> TextIO:
    return _HidingStream(stream)  # type: ignore[return-value]


def _read_passwords() -> set[str]:
    found = {os.environ.get(name, "") for name in _SECRETS} | {password for _, password in _read_address_logins()}
    for values in _read_files():
        found |= {value for name, value in values.items() if name.upper() in _SECRETS}
    return {value.strip() for value in found} - {""}


def _read_logins() -> set[str]:
    found = {os.environ.get(_LOGIN, "")} | {login for login, _ in _read_address_logins()}
    for values in _read_files():
        found |= {value for name, value in values.items() if name.upper() == _LOGIN}
    return found - {""}


def _read_address_logins() -> Iterator[tuple[str, str]]:
    for name in (*_ADDRESSES, *map(str.lower, _ADDRESSES)):
        with suppress(ValueError):
            address = urlsplit(os.environ.get(name, ""))
            yield unquote(address.username or ""), unquote(address.password or "")
    with suppress(OSError, UnicodeDecodeError, netrc.NetrcParseError):
        for login, _, password in netrc.netrc().hosts.values():
            yield login or "", password or ""


def _read_files() -> Iterator[dict[str, str]]:
    for name in _FILES:
        parser = configparser.RawConfigParser()
        with suppress(OSError, RuntimeError, UnicodeDecodeError, configparser.Error):
            parser.read(Path.home() / name, encoding="utf-8")
        for section in parser.sections():
            yield dict(parser[section])


def _spell(secret: str) -> set[str]:
    """Give the forms in which a secret stands in addresses, JSON, Python's own messages and base64."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return plain | {json.dumps(secret)[1:-1], repr(secret)[1:-1]} | _encode(secret)


def _encode(text: str) -> set[str]:
    encoded = {base64.b64encode(text.encode(errors="surrogateescape"))}
    with suppress(UnicodeEncodeError):  # as requests encodes a login
        encoded.add(base64.b64encode(text.encode("latin-1")))
    return {value.decode().rstrip("=") for value in encoded}
