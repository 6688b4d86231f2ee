"""The JSON that `HttpModel` and `ModelServer` speak by default.

A request is a POST with the images, `(k, *shape)` float32, little-endian in base64 or as nested lists:

    {"images": {"base64": "...", "dtype": "float32", "shape": [k, ...]}}
    {"images": [[...], ...]}

The answer holds either scores or labels. A row that stayed without an answer is null; `errors`, which may be left out,
says why:

    {"scores": [[0.1, 0.9], null, ...], "errors": {"1": "the model raised"}}
    {"labels": [1, null, ...]}

Anything that went wrong as a whole has a status other than 2xx and a body {"error": "a sentence"}. A GET returns what
the classifier is: {"protocol": 1, "name", "access", "classes", "shape", "low", "high", "batch_size"}.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import InvalidAnswers, InvalidImages, brief
from zotoolkit.query_models.answers import Answers
from zotoolkit.query_models.base import QueryModel

PROTOCOL = 1
Encoding = Literal["base64", "lists"]


def pack_images(images: np.ndarray, encoding: Encoding = "base64") -> dict[str, Any]:
    """Return the body of a request as an object that JSON can hold.

    Examples:
        >>> pack_images(np.array([[0.5, 1.0]], dtype=np.float32))
        {'images': {'base64': 'AAAAPwAAgD8=', 'dtype': 'float32', 'shape': [1, 2]}}
    """
    if encoding == "lists":
        return {"images": images.tolist()}
    data = base64.b64encode(np.ascontiguousarray(images, dtype="<f4").tobytes()).decode("ascii")
    return {"images": {"base64": data, "dtype": "float32", "shape": list(images.shape)}}


def unpack_images(body: bytes) -> Tensor:
    """Return the images of a request's body.

    Raises:
        InvalidImages: If it holds none.
    """
    content = _parse(body)
    if not isinstance(content, dict) or "images" not in content:
        raise InvalidImages("a request must be a JSON object with 'images'.")
    images = content["images"]
    if isinstance(images, dict):
        return _from_base64(images)
    try:
        array = np.array(images, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidImages("images must be nested lists of numbers, all of the same shape.") from error
    return torch.from_numpy(array)


def pack_answers(answers: Answers) -> bytes:
    """Return the body of an answer."""
    failed = answers.failed.tolist()
    kind, values = ("labels", answers.labels) if answers.scores is None else ("scores", answers.scores)
    rows = [None if bad else row for row, bad in zip(values.tolist(), failed, strict=True)]
    content: dict[str, Any] = {kind: rows}
    if answers.errors:
        content["errors"] = {str(row): sentence for row, sentence in answers.errors.items()}
    return json.dumps(content).encode()


def unpack_answers(body: bytes) -> Any:
    """Return the scores or labels in an answer's body, for `QueryModel.evaluate` to return.

    Raises:
        InvalidAnswers: If it holds none.
        PartialFailure: If some rows are null.
    """
    try:
        content = _parse(body)
    except InvalidImages as error:
        raise InvalidAnswers(f"the answer is no JSON: {_shorten(body)}.") from error
    kinds = [kind for kind in ("scores", "labels") if isinstance(content, dict) and kind in content]
    if len(kinds) != 1 or not isinstance(content[kinds[0]], list):
        raise InvalidAnswers(f"the answer must hold a list of 'scores' or of 'labels', got {_shorten(body)}.")
    rows = content[kinds[0]]
    missing = [position for position, row in enumerate(rows) if row is None]
    if not missing:
        return _as_array(rows, kinds[0])
    sentences = content.get("errors")
    sentences = sentences if isinstance(sentences, dict) else {}
    good = [row for row in rows if row is not None]
    known = _as_array(good, kinds[0])
    values = np.zeros((len(rows), *known.shape[1:]), dtype=known.dtype)
    if good:
        values[[row is not None for row in rows]] = known
    raise PartialFailure(
        torch.from_numpy(values), {row: str(sentences.get(str(row), "the answer is null")) for row in missing}
    )


def describe(model: QueryModel) -> dict[str, Any]:
    """Return what a GET answers."""
    spec = model.input
    return {
        "protocol": PROTOCOL,
        "name": model.name,
        "access": model.access,
        "classes": model.classes,
        "shape": list(spec.shape),
        "low": spec.low,
        "high": spec.high,
        "batch_size": model.batch_size,
    }


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidImages(f"the body is no JSON: {type(error).__name__}.") from error


def _from_base64(images: dict[str, Any]) -> Tensor:
    data, shape, dtype = images.get("base64"), images.get("shape"), images.get("dtype", "float32")
    if dtype != "float32":
        raise InvalidImages(f"images in base64 must be of dtype 'float32', got {brief(dtype)}.")
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    if not isinstance(shape, list) or not whole:
        raise InvalidImages(f"images in base64 need their shape, a list of integers, got {brief(shape)}.")
    if not isinstance(data, str):
        raise InvalidImages(f"images in base64 must be a text, got {brief(data)}.")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImages(f"the images are no base64: {error}.") from error
    if len(raw) != 4 * math.prod(shape):
        raise InvalidImages(f"images of shape {brief(shape)} take {4 * math.prod(shape)} bytes, got {len(raw)}.")
    return torch.from_numpy(np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(shape))


def _as_array(rows: list[Any], kind: str) -> np.ndarray:
    try:
        array = np.array(rows)
    except (TypeError, ValueError) as error:
        raise InvalidAnswers(f"the answer's {kind} are no rows of numbers, all of the same length.") from error
    if array.dtype.kind not in "if" and rows:
        raise InvalidAnswers(f"the answer's {kind} must be numbers, got {brief(rows[0])}.")
    return array


def _shorten(body: bytes) -> str:
    return repr(body[:60])
