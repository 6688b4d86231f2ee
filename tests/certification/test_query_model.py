"""A QueryModel is certified like any other classifier: its failures, its budget, its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.certification.classifiers import three_way
from zotoolkit.certification import certify, load_certification
from zotoolkit.errors import BudgetSpent
from zotoolkit.query_models import CallableModel, QueryBudget


def on_arrays(images: np.ndarray) -> Tensor:
    return three_way(torch.as_tensor(images))


X = torch.tensor([[1.0, 0.2], [0.1, -0.4], [-0.5, 0.9], [0.3, 0.4]])


def test_its_labels_are_counted() -> None:
    model = CallableModel(on_arrays, access="logits", classes=3, input=(2,))
    found = certify(model, X, sigma=0.5, n=300, classes=3)
    assert found.votes().tolist() == certify(three_way, X, sigma=0.5, n=300).votes().tolist()


def test_queries_that_it_gives_up_count_as_failed() -> None:
    def flaky(images: Tensor | np.ndarray) -> Tensor:
        images = torch.as_tensor(images)
        return three_way(images).masked_fill((images[:, 1] > 1)[:, None], float("nan"))

    model = CallableModel(flaky, access="logits", classes=3, input=(2,))
    found = certify(model, X, sigma=0.5, n=300, classes=3, early_abstention=False)
    assert found.failed.tolist() == certify(flaky, X, sigma=0.5, n=300, early_abstention=False).failed.tolist()
    assert found.failed.sum() > 0


def test_a_spent_budget_ends_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    budget = QueryBudget(900)
    model = CallableModel(on_arrays, access="logits", classes=3, input=(2,), budget=budget)
    with pytest.raises(BudgetSpent):
        certify(model, X, sigma=0.5, n=300, classes=3, store=tmp_path, early_abstention=False)
    assert len(load_certification(tmp_path)) == 2
    more = CallableModel(on_arrays, access="logits", classes=3, input=(2,), budget=QueryBudget(800))
    found = certify(more, X, sigma=0.5, n=300, classes=3, store=tmp_path, early_abstention=False)
    whole = certify(three_way, X, sigma=0.5, n=300, classes=3, early_abstention=False)
    assert found.votes().tolist() == whole.votes().tolist()
