"""Every kind of query model keeps the promises of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from tests.query_models.models import CLASSES, SHAPE, export, network
from zotoolkit.query_models import (
    CallableModel,
    HttpModel,
    InputSpec,
    ModelServer,
    OnnxModel,
    QueryModel,
    SklearnModel,
    TorchModel,
)
from zotoolkit.testing import QueryModelConformance

WEIGHTS = np.random.default_rng(0).normal(size=(16, CLASSES)).astype(np.float32)
NAMES = np.array(["cat", "dog", "eel", "fox", "gnu"])


def logits(x: np.ndarray) -> np.ndarray:
    return (x.reshape(len(x), -1) - 0.5) @ WEIGHTS


def training_set() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).random((200, 16), dtype=np.float32)
    return x, logits(x).argmax(axis=1)


class TestTorch(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        return TorchModel(network(), input=SHAPE, **settings)


class TestACallableOnArrays(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        return CallableModel(logits, access="logits", classes=CLASSES, input=SHAPE, **settings)


class TestProbabilitiesOfATorchFunction(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        def proba(x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x.flatten(1) @ torch.from_numpy(WEIGHTS), dim=1)

        return CallableModel(proba, access="proba", classes=CLASSES, input=SHAPE, library="torch", **settings)


class TestLabelsOfEightBitImages(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        spec = InputSpec(SHAPE, levels=256)
        return CallableModel(
            lambda x: logits(x).argmax(1), access="label", classes=CLASSES, input=spec, concurrency=3, **settings
        )


class TestAForest(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        x, y = training_set()
        return SklearnModel(RandomForestClassifier(5, random_state=0).fit(x, y), input=SHAPE, **settings)


class TestLabelsThatAreWords(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        x, y = training_set()
        return SklearnModel(LogisticRegression().fit(x, NAMES[y]), input=SHAPE, access="label", **settings)


class TestADecisionFunction(QueryModelConformance):
    def make_model(self, **settings: Any) -> QueryModel:
        x, y = training_set()
        return SklearnModel(SVC().fit(x, y > 1), access="logits", **settings)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    return {batch: export(network(), folder / f"{batch}.onnx", batch) for batch in (None, 4)}


class TestOnnx(QueryModelConformance):
    @pytest.fixture(autouse=True)
    def _graph(self, graphs: dict[int | None, Path]) -> None:
        self.path = graphs[None]

    def make_model(self, **settings: Any) -> QueryModel:
        return OnnxModel(self.path, threads=1, **settings)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ModelServer(TorchModel(network(), input=SHAPE)) as server:
        yield server.url


class TestHttp(QueryModelConformance):
    @pytest.fixture(autouse=True)
    def _served(self, address: str) -> None:
        self.url = address

    def make_model(self, **settings: Any) -> QueryModel:
        return HttpModel(self.url, **settings)


class TestHttpInLists(TestHttp):
    def make_model(self, **settings: Any) -> QueryModel:
        return HttpModel(self.url, encoding="lists", concurrency=1, **settings)


def test_the_same_network_answers_the_same_in_every_guise(graphs: dict[int | None, Path]) -> None:
    module = network()
    direct = TorchModel(module, input=SHAPE)
    x = torch.rand(21, *SHAPE, generator=torch.Generator().manual_seed(3))
    expected = direct.ask(x)
    assert expected.scores is not None
    assert len(expected.labels.unique()) > 2
    with ModelServer(direct) as server, HttpModel(server.url, batch_size=4) as remote:
        over_http = remote.ask(x)
    assert torch.equal(over_http.labels, expected.labels)
    for other in (over_http, *(OnnxModel(path, threads=1).ask(x) for path in graphs.values())):
        torch.testing.assert_close(other.scores, expected.scores, rtol=1e-5, atol=1e-5)
