"""A page in a browser where a person drops two pictures and looks at what the network makes of them.

One page without anything from elsewhere, for this machine alone unless told; it asks what a served model answers.
"""

import base64
import json
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.process.files import parse_json
from maskdepth.serving.answers import MOST_BYTES, PairPredictor

LOOPBACK = "127.0.0.1"
# Two pictures in base64, and some words around them.
_MOST_BYTES = 2 * (4 * MOST_BYTES // 3) + 10_000
_THRESHOLD = 0.5
_PAGE = Path(__file__).with_name("demo.html")
# A page of another site in the same browser may send requests here, but it can neither embed this one nor read it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob:; connect-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Pair = tuple[bytes, bytes]


def make_server(
    predictor: PairPredictor, draw_pair: Callable[[int], Pair], host: str = LOOPBACK, port: int = 7860
) -> ThreadingHTTPServer:
    """Make the server of the page; `serve_forever` starts it.

    Args:
        predictor: Answers pairs, one at a time.
        draw_pair: Gives the n-th sample: background and composite, encoded.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        ValueError: The port is in use, or the address is none of this machine.
    """
    try:
        return ThreadingHTTPServer((host, port), partial(_Handler, predictor, draw_pair, threading.Lock()))
    except OSError as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers one request: the page, a sample, or a prediction."""

    timeout = 60  # [s] a client may be silent

    def __init__(
        self, predictor: PairPredictor, draw_pair: Callable[[int], Pair], lock: threading.Lock, *request: object
    ) -> None:
        self._predictor, self._draw_pair, self._lock = predictor, draw_pair, lock
        super().__init__(*request)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Give the page, or a sample."""
        path = self.path.partition("?")[0]
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for the machine that it runs on")
        elif path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", _PAGE.read_bytes())
        elif path.startswith("/sample/") and (number := path.removeprefix("/sample/")).isdecimal():
            with self._lock:
                pair = self._draw_pair(int(number[-6:]))
            names = ("background", "composite")
            encoded = {name: base64.b64encode(data).decode() for name, data in zip(names, pair, strict=True)}
            self._send(HTTPStatus.OK, "application/json", json.dumps(encoded).encode())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Predict the pair in the body, JSON with `background` and `composite` in base64."""
        size = self.headers.get("Content-Length", "")
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for the machine that it runs on")
        elif self.path != "/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif not size.isdecimal() or int(size) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {_MOST_BYTES // 2**20} MB")
        else:
            self._predict(self.rfile.read(int(size)))

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: whoever sits at the page sees what happens."""

    def _predict(self, body: bytes) -> None:
        try:
            request = parse_json(body.decode("utf-8"))
            pair = request["background"], request["composite"]
        except (ValueError, KeyError, TypeError):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected JSON with background and composite")
            return
        try:
            with self._lock:
                (answer,) = self._predictor.answer([pair], _THRESHOLD, registers=request.get("register") is not False)
        except RefusedError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._send(HTTPStatus.OK, "application/json", json.dumps(answer).encode())

    def _is_for_us(self) -> bool:
        """Tell whether a request names this server: a page elsewhere can make a name of its own lead here."""
        listens = self.connection.getsockname()[0]
        name = self.headers.get("Host", "").rpartition(":")[0].strip("[]")
        return listens != LOOPBACK or name in (LOOPBACK, "localhost")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        self._send(status, "application/json", json.dumps({"error": reason}).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
