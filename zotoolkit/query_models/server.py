"""A query model behind an HTTP address: what `HttpModel` asks.

On the standard library's server, for one's own machine and network: no encryption and no log-in. Put a reverse proxy
before it where others can reach it.
"""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

from typing_extensions import Self, override

from zotoolkit.checks import check_count
from zotoolkit.errors import BudgetSpent, InvalidImages, ObjectiveFailed, ZotoolkitError
from zotoolkit.query_models.adapt import as_query_model
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.http_protocol import describe, pack_answers, unpack_images

_DRAINED = 1 << 30

_log = logging.getLogger("zotoolkit")


class ModelServer:
    """Answers requests in the background until it is closed; the model is asked by one request at a time.

    Args:
        model: A query model.
        host: Where to listen; by default only this machine can reach it.
        port: 0 takes a free one; see `url`.
        request_bytes: Longest request that is read; a longer one gets a 413.

    Examples:
        >>> import torch
        >>> from zotoolkit.query_models import CallableModel, HttpModel
        >>> model = CallableModel(lambda x: (x.mean(1) > 0.5).astype(int), access="label", classes=2, input=(4,))
        >>> with ModelServer(model) as server, HttpModel(server.url) as remote:
        ...     print(remote.access, remote.predict(torch.tensor([[0.0] * 4, [1.0] * 4])).tolist())
        label [0, 1]
    """

    def __init__(
        self, model: QueryModel, host: str = "127.0.0.1", port: int = 0, *, request_bytes: int = 64 << 20
    ) -> None:
        self.model = model
        check_count(port, "port", least=0)
        self._server = _Server((host, port), _Handler)
        self._server.model = model
        self._server.request_bytes = check_count(request_bytes, "request_bytes")
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="zotoolkit-server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address that `HttpModel` takes."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            while self._thread.is_alive():
                self._thread.join(1.0)
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop listening, and close every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(model: Any, host: str = "127.0.0.1", port: int = 8000, **settings: Any) -> ModelServer:
    """Put a classifier behind an HTTP address and return the server, which answers in the background.

        serve(estimator, input=(1, 8, 8)).wait()       # a program that does nothing else

    Args:
        model: Whatever `as_query_model` takes.
        host: Where to listen; "0.0.0.0" lets every machine on the network ask.
        port: 0 takes a free one.
        **settings: As of `as_query_model`.
    """
    return ModelServer(as_query_model(model, **settings), host, port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: QueryModel
    request_bytes: int

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.asking = threading.Lock()
        self._open: set[Any] = set()
        self._open_lock = threading.Lock()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    @override
    def server_close(self) -> None:
        super().server_close()
        with self._open_lock:
            left = list(self._open)
        for request in left:  # a connection that is kept alive would hold its thread until it times out
            super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a connection from %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # headers and body leave together
    timeout = 60.0

    @property
    def _home(self) -> _Server:
        return cast(_Server, self.server)

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/":
            self._send(404, {"error": "the model is at /."})
            return
        self._send(200, describe(self._home.model))

    def do_POST(self) -> None:
        body = self._read()
        if body is None:
            return
        if urlsplit(self.path).path != "/":
            self._send(404, {"error": "the model is at /."})
            return
        try:
            images = unpack_images(body)
            with self._home.asking:
                answers = self._home.model.ask(images)
        except InvalidImages as error:
            self._send(400, {"error": str(error)})
        except BudgetSpent as error:  # asking again would not help
            self._send(403, {"error": str(error)})
        except ObjectiveFailed as error:
            self._send(503, {"error": str(error)})
        except Exception as error:
            _log.warning("the model failed", exc_info=True)
            said = str(error) if isinstance(error, ZotoolkitError) else f"the model failed: {type(error).__name__}."
            self._send(500, {"error": said})
        else:
            self._send(200, pack_answers(answers))

    def _read(self) -> bytes | None:
        """Return the request's body; None if it was refused, which closes the connection since the body is unread."""
        length = self.headers.get("Content-Length")
        if length is None:
            self._refuse(411, "a request must say its length.")
        elif not (length.isascii() and length.isdigit()):
            self._refuse(400, "the length of a request must be a number.")
        elif int(length) > self._home.request_bytes:
            self._drain(int(length))
            self._refuse(413, f"a request may have {self._home.request_bytes} bytes, this has {int(length)}.")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _drain(self, length: int) -> None:
        """Read a body to throw it away: on a connection closed before that, the refusal would be lost."""
        left = min(length, _DRAINED)
        while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
            left -= len(piece)

    def _refuse(self, status: int, sentence: str) -> None:
        self.close_connection = True
        self._send(status, {"error": sentence})

    def _send(self, status: int, content: dict[str, Any] | bytes) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the standard library refuses in JSON as well."""
        self._refuse(code, message or "this cannot be answered.")

    @override
    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s: " + format, self.address_string(), *args)
