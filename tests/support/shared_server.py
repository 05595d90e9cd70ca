"""The server of docs/SERVER.md, started by the page's own commands on a PostgreSQL that is here, and killed."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from faults.doors import free_port, wait_for_health

psycopg = pytest.importorskip("psycopg", reason="needs the extra `server`")
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "SERVER.md").read_text()
POSTGRES = "postgres@127.0.0.1:5432"
_MAINTENANCE = f"postgresql://{POSTGRES}/postgres"


def require_postgres() -> None:
    try:
        psycopg.connect(_MAINTENANCE, connect_timeout=5).close()
    except psycopg.OperationalError:
        pytest.skip(f"needs a PostgreSQL that trusts {POSTGRES}: apt-get install postgresql, `trust` in pg_hba.conf")


class SharedServer:
    """The page's server in a folder and two databases of its own; its commands differ in nothing else.

    Args:
        folder: Where its files are; the page's commands run here.
        permission: What a user may do with what others have made; of the page, when left out.
    """

    def __init__(self, folder: Path, permission: str = "EDIT") -> None:
        self.folder = folder
        self.port = free_port()
        self.database = f"maskdepth_{secrets.token_hex(6)}"
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        settings = self._block("ini", "[mlflow]")
        assert settings.count("= EDIT") == 1
        (folder / "auth.ini").write_text(settings.replace("= EDIT", f"= {permission}"))

    def make_databases(self) -> None:
        self._run("createdb ")

    def drop_databases(self) -> None:
        for name in (self.database, f"{self.database}_auth"):
            subprocess.run(["dropdb", "--maintenance-db", _MAINTENANCE, "--force", "--if-exists", name], check=True)

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", "-euc", self._block("bash", "mlflow server ")], cwd=self.folder, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for_health(self.port, self._process, seconds=300)

    def kill(self) -> None:
        """Kill it and its workers, as a machine that loses its power does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def make_users(self) -> dict[str, str]:
        """Make the page's users as its administrator; give their passwords by name."""
        printed = self._run_as_administrator("create_user")
        return dict(line.split() for line in printed.splitlines())

    def grant(self) -> None:
        """Grant what the page grants."""
        self._run_as_administrator("grant_user_permission")

    def copy_and_upgrade(self) -> None:
        self._run("pg_dump ")

    def login(self, name: str, password: str) -> dict[str, str]:
        """Give the environment of a user, without what belongs to whoever runs the tests."""
        names = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return self._environment() | dict(zip(names, (self.address, name, password), strict=True))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(f"postgresql://{POSTGRES}/{self.database}") as connection:
            return connection.execute(query).fetchall()

    def _run_as_administrator(self, holds: str) -> str:
        (self.folder / "asked.py").write_text(self._block("python", holds))
        return self._run("MLFLOW_TRACKING_PASSWORD", "python asked.py")

    def _run(self, holds: str, then: str = "") -> str:
        script = f"{self._block('bash', holds)}\n{then}"
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=self._environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "PG"))}
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        sources = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        return kept | {"PATH": programs, "PYTHONPATH": sources, "MASKDEPTH_THREADS": "1"}

    def _block(self, language: str, holds: str) -> str:
        """Give the page's one block of a language that holds a text, for this server."""
        (block,) = (found for found in re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL) if holds in found)
        for there, here in {
            r"mlflow@db\.example\.org:5432": POSTGRES,
            r"(?<=5432/)mlflow|(?<=5432/postgres )mlflow": self.database,
            r"\b5000\b": str(self.port),
            r"https://mlflow\.example\.org": self.address,
            r"mlflow\.example\.org": "127.0.0.1",
            r"/srv/mlflow/artifacts": str(self.folder / "artifacts"),
        }.items():
            block = re.sub(there, here, block)
        return block


@contextmanager
def shared_server(folder: Path, permission: str = "EDIT") -> Iterator[SharedServer]:
    """Run the page's server; nothing of it is left behind."""
    require_postgres()
    server = SharedServer(folder, permission)
    try:
        server.make_databases()
        server.start()
        yield server
    finally:
        server.kill()
        server.drop_databases()
