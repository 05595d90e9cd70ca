"""Where the tracking store is, and what of its address may be shown."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from maskdepth.process.console import printable
from maskdepth.process.secrets import hide_secrets
from maskdepth.process.workspace import repository_root

EXPERIMENT = "maskdepth"
DATA_EXPERIMENT = "maskdepth-data"

SQLITE = "sqlite:///"
# An address of which nothing is a secret, and what can be shown of any other behind its login: host, port and path.
_SERVER = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?(/[^?#@\s]*)?", re.IGNORECASE)
_PLACE = re.compile(r"([\w.-]*|\[[\da-f:.]+\])(:\d+)?(?=[/?#]|$)(/[\w./~-]*)?", re.IGNORECASE)
_ADDRESS = re.compile(r"[\w+.-]+://\S*[\w/]")  # within a text, without the punctuation behind it
# Before an equals sign in the query of a database's address; `passfile` names a file, which is what to use.
_SECRET_WORD = re.compile(r"[?#].*?(password|passwd|passphrase|pwd|secret|token|credential)\w*\s*=", re.I | re.S)
_MOST_RETRIES = 10  # above this MLflow refuses every call


@dataclass(frozen=True)
class Store:
    """A tracking store by its address, and the repository it belongs to."""

    root: Path
    uri: str

    @property
    def database(self) -> Path | None:
        """The SQLite file, None for a server."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None

    @property
    def address(self) -> str:
        """The address as it may be shown."""
        return redact_address(self.uri)


def locate_store() -> Store:
    """Say which store is used: MLFLOW_TRACKING_URI, else `mlflow.db` at the root of the repository.

    Raises:
        ValueError: The address holds a password or, for a server, more than host, port and path; it names a folder, or
            a path that would be misread; or the number of retries is one MLflow refuses.
        FileNotFoundError: The current folder is in no DVC repository.
    """
    root = repository_root()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        path = Path(root, uri.removeprefix(SQLITE)).resolve()
        for folder in (path, root):
            _check_path(str(folder))
        return Store(root, SQLITE + str(path))
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    login = (uri.partition("://")[2] or uri).rpartition("@")[0]
    is_name = "://" in uri and ":" not in login  # of a database's user: no secret
    is_open = scheme not in ("http", "https") or _SERVER.fullmatch(uri)
    if (login and not is_name) or not is_open or _SECRET_WORD.search(unquote(uri)):
        raise ValueError(
            f"MLFLOW_TRACKING_URI {redact_address(uri)} holds a login or more than host, port and path, and MLflow "
            "prints it at the end of each run; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead, for "
            "a database its own password file"
        )
    if scheme in ("", "file", "sqlite"):
        raise ValueError(
            f"MLFLOW_TRACKING_URI {redact_address(uri)} is a folder, which MLflow no longer takes as a store; "
            f"write {SQLITE}mlflow.db or the address of a server"
        )
    retries = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if not retries.isdigit() or int(retries) > _MOST_RETRIES:
        raise ValueError(f"MLFLOW_HTTP_REQUEST_MAX_RETRIES is {retries!r}; MLflow takes 0 to {_MOST_RETRIES}")
    return Store(root, uri)


def _check_path(path: str) -> None:
    """Refuse a path of which MLflow and SQLAlchemy, who take it for an address or a part of SQL, would make another."""
    is_text = path.encode(errors="ignore").decode() == path
    if not is_text or re.search(r"[?%#]|(?<![\w:\\]):\w", path) or {"'", '"'} <= set(path):
        raise ValueError(
            f"{printable(path)}: no store can be in a path with ?, %, #, both kinds of quotes, a colon before a word "
            "or bytes that are no text; rename its folder, or name a server in MLFLOW_TRACKING_URI"
        )


def redact(text: str) -> str:
    """Hide what may be a secret in a text of others: every address, and all that `hide_secrets` knows.

    >>> redact("no answer from http://ann:secret@example.org:5000/api: refused")
    'no answer from http://***@example.org:5000/api: refused'
    """
    return hide_secrets(_ADDRESS.sub(lambda found: redact_address(found[0]), text), also_login=True)


def redact_address(address: str) -> str:
    """Show scheme, host, port and path of an address, and where there was more.

    A login ends at the last @, whatever it holds; where that may as well stand behind a ? or #, nothing is shown.

    >>> redact_address("http://ann:se/cret@example.org:5000/api?token=secret")
    'http://***@example.org:5000/api***'
    >>> redact_address("http://example.org/?token=se@cret")
    'http://***'
    """
    if address.startswith(SQLITE):  # a path, in which each of these signs may stand
        return address
    scheme, marks, rest = address.partition("://") if "://" in address else ("", "", address)
    login, at, place = rest.rpartition("@")
    shown = _PLACE.match(place)
    if shown is None or "?" in login or "#" in login:
        return f"{scheme}{marks}***"
    return f"{scheme}{marks}{at and '***@'}{shown[0]}{'' if shown[0] == place else '***'}"
