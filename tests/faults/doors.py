"""A tracking server behind a door that can be shut, opened again, or lose an answer; and servers that are none."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress


class Door:
    """Passes TCP connections on to a port; shut, as it is at first, it refuses them; held, it leaves them waiting.

    Answers come so many seconds later.
    """

    def __init__(self, target, seconds=0.0):
        self.target = target
        self.seconds = seconds
        self.port = free_port()
        self.lost = 0
        self._to_lose = b""
        self._losing = None
        self._listener = None
        self._connections = []

    def hold(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def open(self):
        if self._listener is None:
            self.hold()
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def shut(self):
        for connection in [self._listener, *self._connections]:
            hang_up(connection)
        self._connections.clear()
        self._listener = None

    def lose_answer(self, path):
        """Let the server do the work of the next request for this path, and lose its answer."""
        self._to_lose = path.encode()

    def _accept(self, listener):
        with suppress(OSError):  # shut
            while True:
                outside, _ = listener.accept()
                inside = socket.create_connection(("127.0.0.1", self.target))
                self._connections += [outside, inside]
                for source, sink, is_answer in ((outside, inside, False), (inside, outside, True)):
                    threading.Thread(target=self._pump, args=[source, sink, is_answer], daemon=True).start()

    def _pump(self, source, sink, is_answer):
        with suppress(OSError):
            while block := source.recv(65536):
                if not is_answer and self._to_lose and self._to_lose in block:
                    self._to_lose, self._losing = b"", source
                if is_answer and sink is self._losing:
                    self.lost += 1
                    break
                if is_answer:
                    time.sleep(self.seconds)
                sink.sendall(block)
        hang_up(source)
        hang_up(sink)


@contextmanager
def false_server(answer):
    """Run a server that answers every request with what `answer(request)` gives, piece by piece; give its port.

    The answer's bytes are all that is sent, so that they hold a head too; pieces are sent as they come.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve(connection):
        with suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            for piece in answer(request):
                connection.sendall(piece)
        hang_up(connection)

    def accept():
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threading.Thread(target=serve, args=[connections[-1]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for connection in (listener, *connections):
            hang_up(connection)


def drip(request, pause=0.3):
    """Answer for ever, a byte at a time: no wait for a single one is too long."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    while True:
        yield b" "
        time.sleep(pause)


def whole_answer(body, status="200 OK"):
    """Make of a body the answer of a server."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


def hang_up(connection):
    with suppress(OSError, AttributeError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError, AttributeError):
        connection.close()


def free_port(host="127.0.0.1"):
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


@contextmanager
def tracking_server(folder):
    """Run a real MLflow server on the loopback; give its port. Its store is `server.db` in the folder."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_health(port, process)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def wait_for_health(port, server, seconds=120):
    """Wait until the server of a process answers; no longer than it lives."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)
    raise AssertionError(f"the server does not answer (exit code {server.poll()})")
