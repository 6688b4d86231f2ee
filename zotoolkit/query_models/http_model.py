"""A classifier behind an HTTP address as a query model."""

from __future__ import annotations

import email.utils
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import InvalidSetting, MissingExtra, ZotoolkitError, brief
from zotoolkit.query_models.answers import Access
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.http_protocol import Encoding, pack_images, unpack_answers
from zotoolkit.query_models.input_spec import InputSpec
from zotoolkit.query_models.retries import BatchFailed, RetryPolicy

_AGAIN = {408, 425, 429}
_TOO_LARGE = 413


@dataclass(frozen=True)
class Timeouts:
    """Seconds after which a request is given up.

    Args:
        connect: For a connection, or for a free one of those there are.
        read: Between two pieces of the answer, or of the request.
        total: For the whole answer once the request is on its way, however slowly the pieces come.

    Raises:
        InvalidSetting: If a number is not finite and above 0.
    """

    connect: float = 5.0
    read: float = 30.0
    total: float = 120.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            check_positive(getattr(self, name), f"Timeouts.{name}")


class HttpModel(QueryModel):
    """Asks a classifier over HTTP, several batches at once.

    What fails on the way is sent again: time-outs, dropped connections, statuses 408, 425, 429 and 5xx (a Retry-After
    is honoured and holds back all batches), and answers that cannot be read or break the promise. A 413 halves the
    batches for good. Other statuses, redirects among them, fail at once. What stays without an answer is a failed row.

    Args:
        url: http or https address that takes a POST.
        access: What it answers with: "logits", "proba" or "label". Left out together with classes and input it is asked
            for by a GET, as `zotoolkit.query_models.serve` answers it.
        classes: Number of classes K.
        input: Shape and range of the images; a bare shape stands for images in [0, 1].
        encode: Turns `(k, *shape)` float32 images into an object for JSON, or into bytes; by default as documented in
            `zotoolkit.query_models.http_protocol`.
        decode: Turns the bytes of an answer into `(k, classes)` scores or `(k,)` integer labels; if it raises, the
            answer counts as unreadable.
        encoding: How images go by default: "base64" or, for people to read, "lists".
        headers: Sent with each request.
        api_key_env: Name of the environment variable that holds the key. The key is read for each request, and never
            stored or shown.
        api_key_header: Header that takes the key.
        api_key_prefix: What stands before the key in it.
        timeouts: Seconds after which a request is given up.
        answer_bytes: Longest answer that is read.
        retry: When a failed batch is sent again.
        concurrency: Requests under way at once.
        **settings: As of `QueryModel`.

    Raises:
        MissingExtra: If httpx is not installed.
        InvalidSetting: If an argument cannot be used, or the address does not say what it was not given.
    """

    remote = True

    def __init__(
        self,
        url: str,
        *,
        access: Access | None = None,
        classes: int | None = None,
        input: InputSpec | tuple[int, ...] | None = None,
        encode: Callable[[np.ndarray], Any] | None = None,
        decode: Callable[[bytes], Any] | None = None,
        encoding: Encoding = "base64",
        headers: dict[str, str] | None = None,
        api_key_env: str | None = None,
        api_key_header: str = "Authorization",
        api_key_prefix: str = "Bearer ",
        timeouts: Timeouts | None = None,
        answer_bytes: int = 64 << 20,
        retry: RetryPolicy | None = None,
        concurrency: int = 4,
        **settings: Any,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("a classifier behind HTTP needs httpx: pip install 'zotoolkit[http]'.") from error
        self._httpx: Any = httpx
        self._url = _check_url(url)
        self._api_key = (api_key_env, api_key_header, api_key_prefix)
        self._headers = _check_headers(headers)
        self._key_header()  # raises now rather than at the first query
        self._encode = encode
        self._decode = unpack_answers if decode is None else decode
        self._encoding: Encoding = check_choice(encoding, ("base64", "lists"), "encoding")
        self.timeouts = Timeouts() if timeouts is None else timeouts
        self._answer_bytes = check_count(answer_bytes, "answer_bytes")
        self._client: Any = None
        self._client_lock = threading.Lock()
        self.concurrency = check_count(concurrency, "concurrency")
        try:
            if access is None or classes is None or input is None:
                told = self._ask_what_it_is()
                access = told["access"] if access is None else access
                classes = told["classes"] if classes is None else classes
                input = told["input"] if input is None else input
                settings.setdefault("batch_size", told["batch_size"])
            settings.setdefault("name", _without_secrets(self._url))
            super().__init__(
                access=cast(Access, access),  # what is still missing, the base class complains about
                classes=cast(int, classes),
                input=cast(InputSpec, input),
                retry=RetryPolicy() if retry is None else retry,
                concurrency=concurrency,
                **settings,
            )
        except BaseException:
            self._close_client()
            raise

    @override
    def evaluate(self, images: Tensor) -> object:
        body, kind = self._body(images.cpu().numpy())
        status, headers, content = self._request("POST", body, kind)
        if not 200 <= status < 300:
            raise self._refusal(status, headers, content)
        try:
            return self._decode(content)
        except (ZotoolkitError, PartialFailure, BatchFailed):
            raise
        except Exception as error:
            raise BatchFailed(f"the answer cannot be decoded: {type(error).__name__}: {error}") from error

    @override
    def close(self) -> None:
        super().close()
        self._close_client()

    def _body(self, images: np.ndarray) -> tuple[bytes, str]:
        try:
            content = pack_images(images, self._encoding) if self._encode is None else self._encode(images)
        except Exception as error:
            raise InvalidSetting(f"encode raised {type(error).__name__}: {error}") from error
        if isinstance(content, (bytes, bytearray)):
            return bytes(content), "application/octet-stream"
        try:
            return json.dumps(content, allow_nan=False).encode(), "application/json"
        except (TypeError, ValueError) as error:
            raise InvalidSetting(f"encode must return bytes or what JSON can hold: {error}.") from error

    def _request(self, method: str, body: bytes | None, kind: str) -> tuple[int, Any, bytes]:
        """Return status, headers and body of the answer.

        Raises:
            BatchFailed: If none came in time and whole.
        """
        httpx = self._httpx
        headers = {"Content-Type": kind, "Accept": "application/json", **self._headers, **self._key_header()}
        deadline = self.timeouts.total + time.monotonic()
        try:
            with self._open_client().stream(method, self._url, content=body, headers=headers) as response:
                content = bytearray()
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > self._answer_bytes:
                        raise BatchFailed(f"the answer is longer than {self._answer_bytes:,} bytes", again=False)
                    if time.monotonic() > deadline:
                        raise BatchFailed(f"the answer was not whole after {self.timeouts.total:g} s")
                return response.status_code, response.headers, bytes(content)
        except httpx.TimeoutException as error:
            raise BatchFailed(f"{type(error).__name__}: no answer in time ({self.timeouts})") from error
        except httpx.HTTPError as error:
            raise BatchFailed(self._redact(f"{type(error).__name__}: {error}")) from error

    def _refusal(self, status: int, headers: Any, content: bytes) -> BatchFailed:
        said = " ".join(content[:200].decode("utf-8", "replace").split())
        sentence = self._redact(f"HTTP {status}{': ' if said else ''}{said}")
        if status == _TOO_LARGE:
            return BatchFailed(sentence, again=False, too_large=True)
        again = status in _AGAIN or status >= 500
        return BatchFailed(sentence, again=again, wait=_retry_after(headers.get("Retry-After")) if again else None)

    def _ask_what_it_is(self) -> dict[str, Any]:
        try:
            status, _, content = self._request("GET", None, "application/json")
            if status != 200:
                raise BatchFailed(f"HTTP {status}")
            told = json.loads(content)
            spec = InputSpec(tuple(told["shape"]), told["low"], told["high"])
            return {"input": spec, **{name: told[name] for name in ("access", "classes", "batch_size")}}
        except (BatchFailed, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidSetting(
                f"access, classes and input must be given: {_without_secrets(self._url)} does not say what it is "
                f"({type(error).__name__}: {error})."
            ) from error

    def _open_client(self) -> Any:
        with self._client_lock:
            if self._client is None:
                seconds = self.timeouts
                self._client = self._httpx.Client(
                    timeout=self._httpx.Timeout(seconds.read, connect=seconds.connect, pool=seconds.connect),
                    limits=self._httpx.Limits(
                        max_connections=self.concurrency, max_keepalive_connections=self.concurrency
                    ),
                    # A proxy has no business on the way to one's own machine.
                    trust_env=urlsplit(self._url).hostname not in ("127.0.0.1", "localhost", "::1"),
                )
            return self._client

    def _close_client(self) -> None:
        with self._client_lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _key_header(self) -> dict[str, str]:
        variable, header, prefix = self._api_key
        if variable is None:
            return {}
        key = os.environ.get(variable, "")
        if not key.strip() or not key.isascii() or not key.isprintable():
            raise InvalidSetting(f"the environment variable {variable} must hold the API key; it is empty or no text.")
        return {header: prefix + key.strip()}

    def _redact(self, sentence: str) -> str:
        key = os.environ.get(self._api_key[0] or "", "").strip()
        sentence = sentence.replace(self._url, _without_secrets(self._url))
        return sentence.replace(key, "***") if key else sentence


def _check_url(url: object) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        good = parts is not None and parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
        if parts is not None:
            _ = parts.port  # raises if it is no number
    except ValueError:
        good = False
    if not good or not isinstance(url, str):
        raise InvalidSetting(f"url must be an http or https address, got {brief(url)}.")
    return url


def _without_secrets(url: str) -> str:
    """Return the address without user, password and query, which may hold a key."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _check_headers(headers: object) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, dict) or not all(isinstance(a, str) and isinstance(b, str) for a, b in headers.items()):
        raise InvalidSetting("headers must be a dict of texts to texts.")
    return dict(headers)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; None if it is neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
