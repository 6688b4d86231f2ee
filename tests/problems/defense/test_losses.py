from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from problems.defense.losses import LOSSES, chosen_loss, floored, image_losses
from tests.problems.defense import small
from zotoolkit import PartialFailure
from zotoolkit.errors import InvalidSetting

X = small.images().test[:4]
Y = torch.tensor([0, 1, 2, 0])


def asked(access: str, rows: list[Any]) -> Any:
    return small.of_function(lambda x: torch.tensor(rows)[: len(x)], access)


def test_auto_is_the_most_that_access_allows() -> None:
    assert [chosen_loss("auto", small.model(access)) for access in ("logits", "proba", "label")] == [
        "cross-entropy",
        "cross-entropy",
        "zero-one",
    ]
    assert chosen_loss("zero-one", small.model()) == "zero-one"
    with pytest.raises(InvalidSetting, match="labels only"):
        chosen_loss("cross-entropy", small.model("label"))
    with pytest.raises(InvalidSetting, match="loss must be one of 'auto'"):
        chosen_loss("mse", small.model())
    assert LOSSES[0] == "auto"


def test_logits_and_their_probabilities_have_one_loss() -> None:
    one = image_losses(small.model(), X, Y, "cross-entropy")
    assert one.shape == (4,)
    torch.testing.assert_close(one, image_losses(small.model("proba"), X, Y, "cross-entropy"))
    scores = small.model().scores(X)
    assert one.tolist() == pytest.approx([-float(row.log_softmax(0)[y]) for row, y in zip(scores, Y, strict=True)])


def test_zero_one_needs_nothing_but_labels() -> None:
    labels = [0, 2, 2, 1]
    expected = [0.0, 1.0, 0.0, 1.0]
    assert image_losses(asked("label", labels), X, Y, "zero-one").tolist() == expected
    logits = torch.eye(3)[torch.tensor(labels)].tolist()
    assert image_losses(asked("logits", logits), X, Y, "zero-one").tolist() == expected


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    rows = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    losses = image_losses(asked("proba", rows), X, Y, "cross-entropy")
    assert bool(torch.isfinite(losses).all())
    assert losses[1] == losses[3] == 0
    assert losses[0] == losses[2] > 1
    logits = [[-math.inf, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1e9], [0.0, 0.0, 0.0]]
    capped = image_losses(asked("logits", logits), X, Y, "cross-entropy")
    assert bool(torch.isfinite(capped).all())
    assert capped[0] == capped[2] > 50


def test_a_failed_query_is_nan() -> None:
    rows = [[0.0, 1.0, 0.0], [math.nan] * 3, [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    for access in ("logits", "proba"):
        assert image_losses(asked(access, rows), X, Y, "cross-entropy").isnan().tolist() == [False, True, False, False]

    def labels(x: Tensor) -> Tensor:
        raise PartialFailure(torch.zeros(len(x), dtype=torch.int64), {2: "lost"})

    assert image_losses(small.of_function(labels, "label"), X, Y, "zero-one").isnan().tolist() == [False] * 2 + [
        True,
        False,
    ]


def test_images_that_are_not_finite_are_not_sent() -> None:
    model, x = small.model(), X.clone()
    x[1, 0, 0, 0], x[3, 0, 2, 2] = math.nan, math.inf
    losses = image_losses(model, x, Y, "cross-entropy")
    assert losses.isnan().tolist() == [False, True, False, True]
    torch.testing.assert_close(losses[[0, 2]], image_losses(model, X[[0, 2]], Y[[0, 2]], "cross-entropy"))
    assert model.ledger.sent == 4
    assert bool(image_losses(model, torch.full_like(X, math.nan), Y, "zero-one").isnan().all())
    assert model.ledger.sent == 4


def test_floored() -> None:
    assert bool(floored(torch.tensor([math.nan])).isnan())
    assert floored(torch.tensor([1.0, 0.5])).tolist() == pytest.approx([0.0, math.log(2)])
