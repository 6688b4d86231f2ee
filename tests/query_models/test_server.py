"""The server that puts a model behind an address: what it answers, and what it refuses."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from tests.query_models.models import Scripted, numbered
from zotoolkit.errors import InvalidSetting
from zotoolkit.query_models import BatchFailed, HttpModel, ModelServer, QueryBudget, RetryPolicy, serve


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(Scripted(), request_bytes=10_000) as server:
        yield server


def post(server: ModelServer, content: bytes, path: str = "") -> tuple[int, dict[str, Any]]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(server.url + path, content=content)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.json()


def test_it_says_what_it_serves(server: ModelServer) -> None:
    told = httpx.get(server.url, trust_env=False)
    assert told.status_code == 200
    assert told.json() == {
        "protocol": 1,
        "name": "Scripted",
        "access": "label",
        "classes": 5,
        "shape": [2],
        "low": 0.0,
        "high": 1.0,
        "batch_size": 256,
    }
    assert server.url.startswith("http://127.0.0.1:")


def test_it_answers_people_who_write_by_hand(server: ModelServer) -> None:
    assert post(server, b'{"images": [[3, 0], [4.0, 0.5]]}') == (200, {"labels": [3, 4]})
    assert post(server, b'{"images": [[1e30, 0]]}')[0] == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the body is no JSON"),
        (b"hello", "the body is no JSON"),
        (b"\xff\xfe\x00", "the body is no JSON"),
        (b"[" * 5000, "the body is no JSON"),
        (b"[]", "must be a JSON object with 'images'"),
        (b"{}", "must be a JSON object with 'images'"),
        (b'{"images": 3}', "images must have shape"),
        (b'{"images": [[1, 2], [3]]}', "nested lists of numbers, all of the same shape"),
        (b'{"images": [["a", "b"]]}', "nested lists of numbers"),
        (b'{"images": [[1, null]]}', "images must be finite"),
        (b'{"images": [[NaN, 0]]}', "images must be finite"),
        (b'{"images": [[1, 2, 3]]}', r"images must have shape \(m, 2\)"),
        (b'{"images": {"base64": "AAAA"}}', "need their shape"),
        (b'{"images": {"base64": "AAAA", "shape": [-1, 2]}}', "need their shape"),
        (b'{"images": {"base64": "AAAA", "shape": [true]}}', "need their shape"),
        (b'{"images": {"base64": 3, "shape": [1, 2]}}', "must be a text"),
        (b'{"images": {"base64": "A!A=", "shape": [1, 2]}}', "no base64"),
        (b'{"images": {"base64": "AAAA", "shape": [1, 2]}}', "take 8 bytes, got 3"),
        (b'{"images": {"base64": "AAAA", "shape": [1000000000000, 1000000000000]}}', "bytes, got 3"),
        (b'{"images": {"base64": "AAAA", "shape": [1, 2], "dtype": "int8"}}', "dtype 'float32'"),
    ],
)
def test_what_is_malformed_is_refused_with_a_reason(server: ModelServer, content: bytes, words: str) -> None:
    status, said = post(server, content)
    assert status == 400
    with pytest.raises(ValueError, match=words):
        raise ValueError(said["error"])
    assert isinstance(server.model, Scripted)
    assert server.model.seen == []
    assert post(server, b'{"images": [[3, 0]]}') == (200, {"labels": [3]})


def test_what_is_too_long_is_refused_without_being_parsed(server: ModelServer) -> None:
    status, said = post(server, b" " * 10_001)
    assert (status, said["error"]) == (413, "a request may have 10000 bytes, this has 10001.")
    assert post(server, b" " * 20_000_000)[0] == 413  # more than the sockets on the way hold


def test_other_paths_and_methods(server: ModelServer) -> None:
    assert post(server, b'{"images": [[3, 0]]}', "other") == (404, {"error": "the model is at /."})
    assert httpx.get(server.url + "other", trust_env=False).status_code == 404
    answer = httpx.put(server.url, content=b"", trust_env=False)
    assert answer.status_code == 501
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"Bad request"),
    ],
)
def test_broken_heads(server: ModelServer, head: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].strip("/"))), timeout=30) as line:
        line.sendall(head)
        answer = b""
        while piece := line.recv(1 << 16):  # ends, since the connection is closed
            answer += piece
    assert status in answer


def test_a_body_that_ends_early_is_no_request(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].strip("/"))), timeout=30) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{}")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
    assert isinstance(server.model, Scripted)
    assert server.model.seen == []


def test_what_the_model_raises_has_a_status() -> None:
    def script(call: int, images: Tensor) -> object:
        if images[0, 0] == 1:
            raise KeyError("inner workings")
        return torch.zeros(99) if images[0, 0] == 2 else None

    with ModelServer(Scripted(script, budget=QueryBudget(3))) as server:
        assert post(server, b'{"images": [[1, 0]]}') == (
            200,
            {"labels": [None], "errors": {"0": "KeyError: 'inner workings'"}},
        )
        status, said = post(server, b'{"images": [[2, 0]]}')
        assert status == 500
        assert "labels" in said["error"]
        status, said = post(server, b'{"images": [[3, 0], [3, 0]]}')
        assert status == 403
        assert "2 images were to be sent" in said["error"]
    with ModelServer(Scripted(lambda call, images: (_ for _ in ()).throw(BatchFailed("gone")), patience=1)) as server:
        status, said = post(server, b'{"images": [[1, 0]]}')
        assert status == 503
        assert "gone" in said["error"]


def test_a_model_is_asked_by_one_at_a_time() -> None:
    busy = threading.Lock()

    def script(call: int, images: Tensor) -> None:
        assert busy.acquire(blocking=False)
        threading.Event().wait(0.005)
        busy.release()

    with ModelServer(Scripted(script)) as server, HttpModel(server.url, batch_size=2, concurrency=4) as model:
        assert torch.equal(model.predict(numbered(24)), torch.arange(24) % 5)
        assert model.ledger.batches == 12


def test_rows_that_failed_there_fail_here() -> None:
    def script(call: int, images: Tensor) -> None:
        if 2 in images[:, 0]:
            raise ValueError("too dark")

    with (
        ModelServer(Scripted(script)) as server,
        HttpModel(server.url, retry=RetryPolicy(1)) as model,
    ):
        answers = model.ask(numbered(4))
    assert answers.labels.tolist() == [0, 1, -1, 3]
    assert answers.errors == {2: "ValueError: too dark"}


def test_closing_ends_every_thread_and_frees_the_port() -> None:
    before = threading.active_count()
    server = ModelServer(Scripted())
    with HttpModel(server.url, retry=RetryPolicy(1)) as model:
        model.ask(numbered(2))
        port = int(server.url.split(":")[2].strip("/"))
        server.close()
        assert model.ask(numbered(1)).labels.tolist() == [-1]
    for _ in range(200):
        if threading.active_count() <= before:
            break
        threading.Event().wait(0.01)
    assert threading.active_count() <= before
    with ModelServer(Scripted(), port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}/"


def test_anything_can_be_served_in_a_line() -> None:
    with (
        serve(lambda x: x, port=0, access="logits", classes=2, input=(2,)) as server,
        HttpModel(server.url) as model,
    ):
        assert model.scores(torch.tensor([[0.25, -1.5]])).tolist() == [[0.25, -1.5]]
    with pytest.raises(InvalidSetting, match="port must be an integer"):
        serve(Scripted(), port=-1)


PROGRAM = """
import sys
from zotoolkit.query_models import serve
server = serve(lambda x: x, port=0, access="logits", classes=2, input=(2,))
print(server.url, flush=True)
server.wait()
print("closed", flush=True)
"""


def test_a_program_serves_until_it_is_interrupted() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with HttpModel(url) as model:
            assert model.predict(torch.tensor([[0.25, 1.5]])).tolist() == [1]
        process.send_signal(2)
        rest = process.stdout.read()
    assert json.loads(json.dumps(rest)) == "closed\n"
    assert process.returncode == 0
