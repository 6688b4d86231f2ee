"""A classifier behind HTTP: whatever goes wrong on the way, nothing is lost and no answer is wrong."""

from __future__ import annotations

import base64
import json
import sys
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.query_models.faulty_server import FAULTS, FaultyServer, every_tenth
from tests.query_models.models import CLASSES, SHAPE, FakeClock, Scripted, network, numbered
from zotoolkit.errors import InvalidAnswers, InvalidSetting, MissingExtra, ObjectiveFailed, UnknownSetting
from zotoolkit.query_models import (
    HttpModel,
    InputSpec,
    ModelServer,
    QueryBudget,
    RetryPolicy,
    Timeouts,
    TorchModel,
    as_query_model,
)
from zotoolkit.query_models.http_model import _retry_after

PROMPT = RetryPolicy(attempts=8, wait=0.001, longest_wait=0.01)
SHORT = Timeouts(connect=5, read=0.3, total=30)


def images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def direct() -> TorchModel:
    return TorchModel(network(), input=SHAPE)


def client(server: FaultyServer, **settings: Any) -> HttpModel:
    given = {"access": "logits", "classes": CLASSES, "input": SHAPE, "retry": PROMPT, "timeouts": SHORT} | settings
    return HttpModel(server.url, **given)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_tenth_of_the_requests_meets_a_fault_and_nothing_is_lost(direct: TorchModel, concurrency: int) -> None:
    x = images(90 * 4)
    expected = direct.ask(x)
    with FaultyServer(direct, every_tenth(FAULTS)) as server:
        with client(server, concurrency=concurrency, batch_size=4) as model:
            answers = model.ask(x)
        assert set(server.met) == set(FAULTS)
        assert sum(server.met.values()) >= 0.09 * len(server.requests)
    assert answers.errors == {}
    assert torch.equal(answers.labels, expected.labels)
    torch.testing.assert_close(answers.scores, expected.scores, rtol=1e-6, atol=1e-6)
    counts = model.ledger.total
    assert (counts.answered, counts.failed) == (len(x), 0)
    assert counts.batches == len(server.requests) == 90 + counts.retried
    assert len(x) < counts.sent <= len(x) + 4 * counts.retried


def test_large_batches_meet_them_too(direct: TorchModel) -> None:
    x = images(256 * 4)
    plan = {0: "503", 2: "dropped", 3: "null", 5: "garbage"}.get
    with FaultyServer(direct, plan) as server, client(server, batch_size=256, concurrency=2) as model:
        assert torch.equal(model.predict(x), direct.predict(x))
        assert sum(server.met.values()) == 4
    assert model.ledger.batches == 8


@pytest.mark.parametrize("fault", [*FAULTS, "500", "429", "408"])
def test_every_fault_alone_is_covered_by_a_second_attempt(direct: TorchModel, fault: str) -> None:
    x = images(5)
    with FaultyServer(direct, {0: fault}.get) as server, client(server) as model:
        assert torch.equal(model.predict(x), direct.predict(x))
        assert len(server.requests) == 2
        assert model.ledger.total.retried == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("503", 'HTTP 503: {"error": "as planned"} (3 attempts)'),
        ("garbage", "the answer is no JSON: b'<html>welcome</html>'. (3 attempts)"),
        ("hang", "ReadTimeout: no answer in time"),
        ("dropped", "RemoteProtocolError: Server disconnected without sending a response. (3 attempts)"),
        ("truncated", "RemoteProtocolError: peer closed connection"),
        ("rows", "answered 4 rows to 5 images. (3 attempts)"),
        ("classes", "was declared to have 5 classes, but answered with 6 scores an image. (3 attempts)"),
    ],
)
def test_what_retries_do_not_cover_is_failed_and_never_wrong(direct: TorchModel, fault: str, words: str) -> None:
    x = images(10)
    with (
        FaultyServer(direct, lambda number: fault if 1 <= number <= 3 else None) as server,
        client(server, batch_size=5, concurrency=1, retry=RetryPolicy(3, wait=0), timeouts=Timeouts(read=0.1)) as model,
    ):
        answers = model.ask(x)
    assert torch.equal(answers.labels[:5], direct.predict(x)[:5])
    assert answers.labels[5:].tolist() == [-1] * 5
    assert answers.scores is not None
    assert bool(answers.scores[5:].isnan().all())
    assert set(answers.errors) == {5, 6, 7, 8, 9}
    assert words in answers.errors[7]


@pytest.mark.parametrize(("fault", "row", "words"), [("nan", 0, "not finite"), ("null", 4, "the row was lost")])
def test_rows_that_stay_without_an_answer(direct: TorchModel, fault: str, row: int, words: str) -> None:
    x = images(5)
    with (
        FaultyServer(direct, lambda number: fault) as server,
        client(server, retry=RetryPolicy(attempts=1)) as model,
    ):
        answers = model.ask(x)
    expected = direct.predict(x)
    expected[row] = -1
    assert torch.equal(answers.labels, expected)
    assert list(answers.errors) == [row]
    assert words in answers.errors[row]


def test_an_answer_that_comes_too_slowly_is_given_up(direct: TorchModel) -> None:
    with (
        FaultyServer(direct, {0: "drip"}.get) as server,
        client(server, timeouts=Timeouts(read=5, total=0.1)) as model,
    ):
        assert torch.equal(model.predict(images(3)), direct.predict(images(3)))
        assert model.ledger.total.retried == 1


def test_a_retry_after_is_waited_for(direct: TorchModel) -> None:
    clock = FakeClock()
    with FaultyServer(direct, {0: "429 17", 2: "503 soon"}.get) as server, client(server, clock=clock) as model:
        model.predict(images(1))
        assert sum(clock.waits) == pytest.approx(17)
        model.predict(images(1))  # words that say nothing are not waited for
        assert sum(clock.waits) < 17.1


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=100)
    seconds = _retry_after(format_datetime(soon, usegmt=True))
    assert seconds is not None
    assert 90 < seconds <= 100
    assert _retry_after(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0
    assert [_retry_after(text) for text in (None, "soon", "-3", "1.5", "12")] == [None, None, 0.0, None, 12.0]


def test_requests_that_are_too_large_are_halved_for_good(direct: TorchModel) -> None:
    x = images(64)
    with ModelServer(direct, request_bytes=1000) as server:
        with HttpModel(server.url, batch_size=64, retry=PROMPT, budget=QueryBudget(1000)) as model:
            assert torch.equal(model.predict(x), direct.predict(x))
            assert model.fitting == 8
            sent = model.ledger.sent
            assert torch.equal(model.predict(x), direct.predict(x))
            assert model.ledger.sent == sent + 64
            assert model.budget is not None
            assert model.budget.spent == {"general": sent + 64}
        with ModelServer(direct, request_bytes=10) as tiny, HttpModel(tiny.url, retry=PROMPT) as hopeless:
            answers = hopeless.ask(x[:2])
            assert answers.labels.tolist() == [-1, -1]
            assert "HTTP 413" in answers.errors[0]


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "302"])
def test_a_refusal_is_not_repeated(direct: TorchModel, status: str) -> None:
    with FaultyServer(direct, lambda number: status) as server, client(server, patience=2) as model:
        answers = model.ask(images(2))
        assert answers.errors[0] == f'HTTP {status}: {{"error": "as planned"}}'
        assert len(server.requests) == 1
        with pytest.raises(ObjectiveFailed, match=f"2 batches in a row came to nothing.*HTTP {status}"):
            model.ask(images(2))


def test_nobody_there() -> None:
    with ModelServer(Scripted()) as server:
        url = server.url
    with HttpModel(url, access="label", classes=2, input=(2,), retry=RetryPolicy(2, wait=0)) as model:
        answers = model.ask(numbered(1))
    assert answers.errors[0].startswith("ConnectError: ")
    assert answers.errors[0].endswith("(2 attempts)")


def test_the_key_goes_with_each_request_and_nowhere_else(direct: TorchModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "s3cret-0ne")
    plan = {1: "503", 2: "503"}.get
    with FaultyServer(direct, plan) as server:
        settings = {"api_key_env": "MY_API_KEY", "headers": {"X-Tenant": "a"}, "retry": RetryPolicy(1)}
        with client(server, **settings) as model:
            model.ask(images(1))
            monkeypatch.setenv("MY_API_KEY", "an0ther")  # keys change while a run goes on
            answers = model.ask(images(1))
            assert "s3cret" not in repr(vars(model)) + repr(model) + repr(answers.errors)
            assert "an0ther" not in repr(vars(model)) + repr(model) + repr(answers.errors)
            monkeypatch.delenv("MY_API_KEY")
            with pytest.raises(InvalidSetting, match="the environment variable MY_API_KEY must hold the API key"):
                model.ask(images(1))
        monkeypatch.setenv("MY_API_KEY", "key3")
        with client(server, **settings, api_key_header="X-Key", api_key_prefix="") as model:
            model.ask(images(1))
    assert [request.get("Authorization") for request in server.requests] == [
        "Bearer s3cret-0ne",
        "Bearer an0ther",
        None,
    ]
    assert server.requests[2]["X-Key"] == "key3"
    assert {request["X-Tenant"] for request in server.requests} == {"a"}


def test_a_server_that_repeats_the_key_does_not_bring_it_into_a_message(
    direct: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "as planned")
    with FaultyServer(direct, lambda number: "400") as server, client(server, api_key_env="MY_API_KEY") as model:
        assert model.ask(images(1)).errors[0] == 'HTTP 400: {"error": "***"}'


def test_any_other_api_fits(direct: TorchModel) -> None:
    class TheirServer(FaultyServer):
        """Takes bytes of 8-bit images, answers with a list of named confidences."""

        def answer(self, body: bytes, fault: str | None) -> bytes:
            pixels = np.frombuffer(body, dtype=np.uint8).reshape(-1, *SHAPE)
            scores = torch.softmax(self.model.scores(torch.from_numpy(pixels / 255.0)), dim=1)
            return json.dumps([{"id": i, "confidences": row} for i, row in enumerate(scores.tolist())]).encode()

    x = images(9)
    spec = InputSpec(SHAPE, levels=256)
    with (
        TheirServer(direct) as server,
        client(
            server,
            access="proba",
            input=spec,
            encode=lambda array: (array * 255).round().astype(np.uint8).tobytes(),
            decode=lambda content: [row["confidences"] for row in json.loads(content)],
        ) as model,
    ):
        answers = model.ask(x)
    expected = torch.softmax(direct.scores(spec.prepare(x)), dim=1)
    torch.testing.assert_close(answers.scores, expected, rtol=1e-5, atol=1e-6)
    assert server.requests[0]["Content-Type"] == "application/octet-stream"


def test_a_decoder_that_raises_means_an_unreadable_answer(direct: TorchModel) -> None:
    with FaultyServer(direct) as server:
        with client(server, decode=lambda content: json.loads(content)["wrong"], retry=RetryPolicy(1)) as model:
            answers = model.ask(images(1))
            assert answers.errors == {0: "the answer cannot be decoded: KeyError: 'wrong'"}
        with (
            client(server, encode=lambda array: {"x": array}) as model,
            pytest.raises(InvalidSetting, match="encode must return bytes or what JSON can hold"),
        ):
            model.ask(images(1))
        with (
            client(server, encode=lambda array: 1 / 0) as model,
            pytest.raises(InvalidSetting, match="encode raised ZeroDivisionError"),
        ):
            model.ask(images(1))


def test_an_endpoint_declared_as_what_it_is_not(direct: TorchModel) -> None:
    with FaultyServer(direct) as server:
        with client(server, access="proba") as model, pytest.raises(InvalidAnswers, match="declare access='logits'"):
            model.ask(images(3))
        with client(server, access="label") as model, pytest.raises(InvalidAnswers, match="declare access='logits'"):
            model.ask(images(3))
        with client(server, classes=7) as model, pytest.raises(InvalidAnswers, match="7 classes, but answered with 5"):
            model.ask(images(3))


def test_answers_that_are_too_long_are_not_read(direct: TorchModel) -> None:
    with FaultyServer(direct) as server, client(server, answer_bytes=20) as model:
        assert model.ask(images(3)).errors[0] == "the answer is longer than 20 bytes"
        assert len(server.requests) == 1


def test_an_address_that_says_what_it_is(direct: TorchModel) -> None:
    with ModelServer(TorchModel(network(), input=InputSpec(SHAPE, low=-1, levels=16), batch_size=32)) as server:
        with as_query_model(server.url) as model:
            assert isinstance(model, HttpModel)
            assert (model.access, model.classes, model.batch_size) == ("logits", CLASSES, 32)
            assert model.input == InputSpec(SHAPE, low=-1)  # the server does the rounding
        with HttpModel(server.url, access="logits", batch_size=8) as model:
            assert (model.classes, model.batch_size) == (CLASSES, 8)
        with pytest.raises(
            InvalidSetting, match=r"access, classes and input must be given: .* \(BatchFailed: HTTP 404"
        ):
            HttpModel(server.url + "elsewhere")


@pytest.mark.parametrize(
    "told",
    [
        b"hello",
        b"[]",
        b'{"access": "label"}',
        b'{"access": "label", "classes": 2, "shape": 3, "low": 0, "high": 1, "batch_size": 8}',
        b'{"access": "label", "classes": 2, "shape": ["a"], "low": 0, "high": 1, "batch_size": 8}',
        b'{"access": "label", "classes": 2, "shape": [3], "low": 1, "high": 1, "batch_size": 8}',
        b'{"access": "words", "classes": 2, "shape": [3], "low": 0, "high": 1, "batch_size": 8}',
        b'{"access": "label", "classes": "2", "shape": [3], "low": 0, "high": 1, "batch_size": 8}',
    ],
)
def test_an_address_that_says_something_else(direct: TorchModel, told: bytes) -> None:
    with FaultyServer(direct) as server:
        server.told = told
        with pytest.raises(InvalidSetting, match=r"does not say what it is|access must be|classes must be"):
            HttpModel(server.url)


def test_nobody_is_told_a_password_in_an_address() -> None:
    model = HttpModel("http://me:pa55@127.0.0.1:9/x?key=abc", access="label", classes=2, input=(2,))
    assert model.name == "http://127.0.0.1:9/x"
    answers = HttpModel(
        "http://me:pa55@127.0.0.1:9/x?key=abc", access="label", classes=2, input=(2,), retry=RetryPolicy(1)
    ).ask(numbered(1))
    assert "pa55" not in str(answers.errors)
    assert "abc" not in str(answers.errors)


@pytest.mark.parametrize(
    ("url", "settings", "error", "words"),
    [
        ("ftp://example.org", {}, InvalidSetting, "url must be an http or https address"),
        ("http://", {}, InvalidSetting, "url must be an http or https address"),
        ("http://example.org:port/", {}, InvalidSetting, "url must be an http or https address"),
        (7, {}, InvalidSetting, "url must be an http or https address"),
        ("http://127.0.0.1:9", {"encoding": "xml"}, InvalidSetting, "encoding must be one of 'base64', 'lists'"),
        ("http://127.0.0.1:9", {"headers": ["a"]}, InvalidSetting, "headers must be a dict of texts to texts"),
        ("http://127.0.0.1:9", {"api_key_env": "NOT_THERE_AT_ALL"}, InvalidSetting, "NOT_THERE_AT_ALL must hold"),
        ("http://127.0.0.1:9", {"concurrency": 0}, InvalidSetting, "concurrency must be"),
        ("http://127.0.0.1:9", {"classes": 1}, InvalidSetting, "classes must be"),
    ],
)
def test_bad_settings_are_refused(url: Any, settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        HttpModel(url, **({"access": "label", "classes": 2, "input": (2,)} | settings))


def test_timeouts_are_always_there() -> None:
    with pytest.raises(InvalidSetting, match=r"Timeouts\.read must be a finite number above 0"):
        Timeouts(read=float("inf"))
    with pytest.raises(UnknownSetting, match=r"HttpModel: .*unexpected .*timeout"):
        as_query_model("http://127.0.0.1:9", access="label", classes=2, input=(2,), timeout=None)


def test_httpx_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"needs httpx: pip install 'zotoolkit\[http\]'"):
        HttpModel("http://127.0.0.1:9", access="label", classes=2, input=(2,))


def test_images_travel_as_documented(direct: TorchModel) -> None:
    bodies: list[dict[str, Any]] = []

    class Listening(FaultyServer):
        def answer(self, body: bytes, fault: str | None) -> bytes:
            bodies.append(json.loads(body))
            return super().answer(body, fault)

    x = images(2)
    with Listening(direct) as server:
        for encoding in ("base64", "lists"):
            with client(server, encoding=encoding) as model:
                assert torch.equal(model.predict(x), direct.predict(x))
    packed, nested = (body["images"] for body in bodies)
    assert packed["shape"] == [2, *SHAPE]
    assert packed["dtype"] == "float32"
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed["base64"]), "<f4"), x.numpy().ravel())
    np.testing.assert_array_equal(np.array(nested, dtype=np.float32), x.numpy())
