"""Queries to a classifier behind HTTP: batches of 256 against one image a request, on a local server, one core.

The server runs in a process of its own and answers with a small convolutional network on 8 x 8 images. A row's unit is
microseconds a query by the wall clock, since most of a request is waiting for the other process:

- batch 256, one request at a time, against the obvious loop: httpx, one image a request, nested lists: judged;
- the same with four requests at once; `HttpModel` at batch 1; nested lists in place of base64;
- one request at a time where a tenth of the requests meets a fault (503, garbage, a dropped connection), against the
  same without faults: every answer equals the direct one, or the benchmark fails;
- the model asked directly, without HTTP.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import torch
from harness import Options, Report, Row
from torch import Tensor, nn

from zotoolkit.query_models import HttpModel, QueryModel, RetryPolicy, TorchModel
from zotoolkit.query_models.http_protocol import describe, pack_answers, unpack_images
from zotoolkit.seeding import derive_seed, torch_generator

GOAL = 20.0
SHAPE = (1, 8, 8)
FAULTS = ("503", "garbage", "dropped")
PROMPT = RetryPolicy(attempts=10, wait=0.001, longest_wait=0.01)


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    single, many = (20, 512) if options.quick else (300, 256 * 40)
    images = torch.rand(many, *SHAPE, generator=torch_generator(0))
    direct = classifier()
    expected = direct.predict(images)
    with _serving(faults=False) as url, _serving(faults=True) as faulty_url, contextlib.ExitStack() as stack:

        def client(address: str, **settings: Any) -> HttpModel:
            return stack.enter_context(HttpModel(address, retry=PROMPT, **settings))

        def ask(model: QueryModel, count: int) -> Callable[[], None]:
            def call() -> None:
                if not torch.equal(model.predict(images[:count]), expected[:count]):
                    raise RuntimeError(f"{model} answered otherwise than the classifier itself")

            return call

        plain = stack.enter_context(httpx.Client(trust_env=False))

        def loop() -> None:
            for image in images[:single]:
                answer = plain.post(url, json={"images": [image.tolist()]})
                answer.raise_for_status()
                torch.tensor(answer.json()["scores"]).argmax()

        obvious = loop, single
        one = ask(client(url, batch_size=1, concurrency=1), single), single
        whole = ask(client(url, batch_size=256, concurrency=1), many), many
        at_once = client(url, batch_size=256, concurrency=4)
        lists = client(url, batch_size=256, concurrency=1, encoding="lists")
        faulty = client(faulty_url, batch_size=256, concurrency=1)
        one_at_once = client(url, batch_size=1, concurrency=4)
        repeats = options.repeats(9)
        rows = [
            _row("obvious loop, batch 1 / batch 256", obvious, whole, repeats, GOAL),
            _row("obvious loop, batch 1 / batch 256, 4 at once", obvious, (ask(at_once, many), many), repeats),
            _row("obvious loop, batch 1 / batch 1", obvious, one, repeats),
            _row("batch 1 / batch 1, 4 at once", one, (ask(one_at_once, single), single), repeats),
            _row("batch 256 in lists / in base64", (ask(lists, many), many), whole, repeats),
            _row("batch 256: 10 % faults / none", (ask(faulty, many), many), whole, repeats),
            _row("batch 256 over HTTP / direct", whole, (ask(direct, many), many), repeats),
        ]
        counts = faulty.ledger.total
        notes = [
            f"With faults {counts.retried} of {counts.batches} requests were repeats; {counts.answered:,} images were "
            f"answered, {counts.failed} were not, and every answer equals the direct one.",
        ]
    settings = {"image": list(SHAPE), "classes": 10, "queries at batch 1": single, "queries at batch 256": many}
    return Report(rows, settings | {"faults": list(FAULTS)}, notes=notes, clock="wall")


def classifier() -> TorchModel:
    """Return a small network, as initialised: speed does not depend on its weights."""
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    generator = torch_generator(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return TorchModel(module, input=SHAPE)


def _row(
    label: str,
    baseline: tuple[Callable[[], None], int],
    ours: tuple[Callable[[], None], int],
    repeats: int,
    goal: float | None = None,
) -> Row:
    """Time two sides in turn by the wall clock, in microseconds a query."""
    samples: tuple[list[float], list[float]] = ([], [])
    for call, _ in (baseline, ours):
        call()
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            call, queries = (baseline, ours)[side]
            begun = time.perf_counter()
            call()
            samples[side].append(1e6 * (time.perf_counter() - begun) / queries)
    return Row(label, samples[0], samples[1], "us/query", "at least", goal)


@contextlib.contextmanager
def _serving(faults: bool) -> Iterator[str]:
    """Serve the classifier in another process; yield the address."""
    command = [sys.executable, __file__, *(["--faults"] if faults else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address.startswith("http://"):
                raise RuntimeError("the server did not start")
            yield address
        finally:
            process.terminate()


def _serve(faults: bool) -> None:
    torch.set_num_threads(1)
    model = classifier()
    seen = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def do_GET(self) -> None:
            self.reply(200, json.dumps(describe(model)).encode())

        def do_POST(self) -> None:
            images: Tensor = unpack_images(self.rfile.read(int(self.headers["Content-Length"])))
            number, seen[0] = seen[0], seen[0] + 1
            met = faults and derive_seed(0, number // 10) % 10 == number % 10
            fault = FAULTS[number // 10 % len(FAULTS)] if met else None
            if fault == "dropped":
                self.close_connection = True
            elif fault == "503":
                self.reply(503, b"{}")
            else:
                self.reply(200, b"<html>" if fault else pack_answers(model.ask(images)))

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve("--faults" in sys.argv)
