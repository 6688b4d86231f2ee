"""A real HTTP server that answers as it should, but for the faults that it is told to have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

from zotoolkit.query_models import Answers, QueryModel
from zotoolkit.query_models.http_protocol import pack_answers, unpack_images
from zotoolkit.seeding import derive_seed

FAULTS = ("503", "garbage", "truncated", "dropped", "rows", "classes", "nan", "null", "hang")


def every_tenth(faults: tuple[str, ...], seed: int = 0) -> Callable[[int], str | None]:
    """Return a plan by which a tenth of the requests meets a fault, all of them in turn."""

    def plan(number: int) -> str | None:
        if derive_seed(seed, number // 10) % 10 != number % 10:
            return None
        return faults[number // 10 % len(faults)]

    return plan


class FaultyServer:
    """Serves a model; `plan` says, by the number of the POST, which fault that one meets.

    Attributes:
        requests: Headers of each POST, in the order of their arrival.
        met: How often each fault was met.
        told: What a GET returns.
    """

    def __init__(self, model: QueryModel, plan: Callable[[int], str | None] = lambda number: None) -> None:
        self.model = model
        self.plan = plan
        self.requests: list[dict[str, str]] = []
        self.met: dict[str, int] = {}
        self.told = b""
        self.lock = threading.Lock()
        self.asking = threading.Lock()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/classify"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_fault(self, headers: dict[str, str]) -> str | None:
        with self.lock:
            fault = self.plan(len(self.requests))
            self.requests.append(headers)
            if fault is not None:
                self.met[fault] = self.met.get(fault, 0) + 1
            return fault

    def answer(self, body: bytes, fault: str | None) -> bytes:
        with self.asking:
            answers = self.model.ask(unpack_images(body))
        if fault == "rows":
            answers = Answers(answers.labels[:-1], None if answers.scores is None else answers.scores[:-1])
        content: dict[str, Any] = json.loads(pack_answers(answers))
        key = next(iter(content))
        if fault == "classes":
            content[key] = [[*row, 0.0] for row in content[key]] if key == "scores" else [99 for _ in content[key]]
        if fault == "nan" and key == "scores":
            content[key][0] = [float("nan")] * len(content[key][0])
        if fault == "null":
            content[key][-1] = None
            content["errors"] = {str(len(content[key]) - 1): "the row was lost"}
        return json.dumps(content).encode()

    def _handler(owner) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 1 << 16

            def do_GET(self) -> None:
                self.reply(200, owner.told, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fault = owner.next_fault(dict(self.headers))
                if fault == "dropped":
                    self.close_connection = True
                    return
                if fault == "hang":
                    owner.released.wait(60)
                    self.close_connection = True
                    return
                status, _, rest = (fault or "").partition(" ")
                if status.isdigit():
                    after = {"Retry-After": rest} if rest else {}
                    self.reply(int(status), b'{"error": "as planned"}', after)
                elif fault == "garbage":
                    self.reply(200, b"<html>welcome</html>", {})
                elif fault == "truncated":
                    answer = owner.answer(body, None)
                    self.reply(200, answer[: len(answer) // 2], {"Content-Length": str(len(answer))})
                    self.close_connection = True
                elif fault == "drip":
                    self.drip(owner.answer(body, None))
                else:
                    self.reply(200, owner.answer(body, fault), {})

            def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def drip(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if owner.released.wait(0.02):
                        break
                self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the other side had enough
                    self.close_connection = True

            def finish(self) -> None:
                try:
                    super().finish()
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
