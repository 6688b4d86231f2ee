"""What counts as an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from zotoolkit.errors import InvalidAnswers
from zotoolkit.query_models.answers import Access, Form

NAN, INF = float("nan"), float("inf")


def form(access: Access, classes: int = 3, tolerance: float = 1e-3) -> Form:
    return Form(access, classes, tolerance, "the model")


@pytest.mark.parametrize(
    "answer",
    [
        torch.tensor([2, 0]),
        torch.tensor([2, 0], dtype=torch.uint8),
        np.array([2, 0], dtype=np.int32),
        np.array([2, 0], dtype=">i8"),
        np.array([0, 2])[::-1],
        [2, 0],
    ],
)
def test_labels_of_every_make(answer: Any) -> None:
    answers = form("label").read(answer, 2)
    assert answers.labels.tolist() == [2, 0]
    assert answers.labels.dtype == torch.int64
    assert answers.scores is None
    assert answers.errors == {}


@pytest.mark.parametrize(
    "answer",
    [
        torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64),
        torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.bfloat16),
        torch.tensor([[0.0, 1.0, -1.0]], requires_grad=True),
        np.array([[0, 1, -1]]),
        [[0, 1, -1]],
        [[0.0, 1.0, -1.0]],
    ],
)
def test_scores_of_every_make(answer: Any) -> None:
    answers = form("logits").read(answer, 1)
    assert answers.labels.tolist() == [1]
    assert answers.scores is not None
    assert answers.scores.dtype == torch.float32
    assert not answers.scores.requires_grad
    assert answers.scores.tolist() == [[0.0, 1.0, -1.0]]


def test_scores_are_copied() -> None:
    memory = torch.zeros(1, 3)
    answers = form("logits").read(memory, 1)
    memory += 1
    assert answers.scores is not None
    assert answers.scores.tolist() == [[0.0, 0.0, 0.0]]


def test_the_label_is_that_of_the_scores_as_they_came() -> None:
    close = torch.tensor([[1.0, 1.0 + 1e-12, 0.0]], dtype=torch.float64)
    assert form("logits").read(close, 1).labels.tolist() == [1]


def test_ties_go_to_the_first_class() -> None:
    assert form("logits").read(torch.zeros(1, 3), 1).labels.tolist() == [0]


def test_rows_that_are_not_finite_have_failed() -> None:
    scores = torch.tensor([[0, 1, NAN], [0, 1, INF], [-INF, 1, 0], [-INF, -INF, -INF], [3, 2, 1]])
    answers = form("logits").read(scores, 5)
    assert answers.labels.tolist() == [-1, -1, 1, -1, 0]
    assert answers.failed.tolist() == [True, True, False, True, False]
    assert set(answers.errors) == {0, 1, 3}
    assert answers.errors[0] == "the model answered with scores that are not finite"
    assert answers.scores is not None
    assert answers.scores.isnan().all(dim=1).tolist() == [True, True, False, True, False]
    proba = form("proba").read(torch.tensor([[NAN, 0, 1], [0, 1, 0]]), 2)
    assert proba.labels.tolist() == [-1, 1]


def test_sums_have_a_tolerance() -> None:
    rounded = torch.tensor([[0.333, 0.333, 0.3335]])
    assert form("proba").read(rounded, 1).labels.tolist() == [2]
    with pytest.raises(InvalidAnswers, match=r"row 0 sums to 0\.9995 .*tolerance 1e-05\); declare access='logits'"):
        form("proba", tolerance=1e-5).read(rounded, 1)


@pytest.mark.parametrize(
    ("access", "answer", "words"),
    [
        ("label", [0, 3], "labels 0 to 2, got 3 for image 1"),
        ("label", [-1, 0], "labels 0 to 2, got -1 for image 0"),
        ("label", [0.0, 1.0], "must answer with integer labels, got a tensor of shape .* torch.float64"),
        ("label", [True, False], "must answer with integer labels"),
        ("label", [0], "answered 1 labels to 2 images"),
        ("label", [[0], [1]], r"must answer with \(2,\) labels"),
        ("label", torch.zeros(2, 3), "declare access='logits' or 'proba'"),
        ("label", ["cat", "dog"], "one integer label an image, got"),
        ("label", None, "one integer label an image, got None"),
        ("logits", [0, 1], "labels, by their form; declare access='label'"),
        ("proba", torch.tensor([0, 1]), "labels, by their form; declare access='label'"),
        ("logits", [0.5, 1.0], r"must answer with \(2, 3\) scores"),
        ("logits", torch.zeros(3, 3), "answered 3 rows to 2 images"),
        ("logits", torch.zeros(2, 4), "declared to have 3 classes, but answered with 4 scores"),
        ("logits", torch.zeros(2, 3, 1), r"must answer with \(2, 3\) scores"),
        ("logits", torch.zeros(2, 3, dtype=torch.complex64), "a row of 3 logits an image"),
        ("logits", [[1, 2, 3], [1, 2]], "a row of 3 logits an image"),
        ("logits", {"scores": []}, "a row of 3 logits an image"),
        ("proba", [[0.2, 0.3, 0.4], [1, 0, 0]], r"row 0 sums to 0\.9 .*declare access='logits'"),
        ("proba", [[1, 0, 0], [1.5, -0.5, 0.0]], r"row 1 sums to 1 \(entries from -0\.5 to 1\.5"),
    ],
)
def test_broken_promises_are_named(access: Access, answer: Any, words: str) -> None:
    with pytest.raises(InvalidAnswers, match=words):
        form(access).read(answer, 2)
