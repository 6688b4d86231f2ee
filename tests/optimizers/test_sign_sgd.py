"""signSGD's step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zotoolkit import SignSGD
from zotoolkit.errors import InvalidSetting


def test_each_coordinate_moves_by_lr_against_the_sign() -> None:
    x = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    optimizer = SignSGD([x], lr=0.25)
    x.grad = torch.tensor([1e-30, -1e30, 0.0, 5.0])
    optimizer.step()
    assert x.tolist() == [0.75, 2.25, 3.0, 3.75]


def test_momentum_takes_the_sign_of_the_average() -> None:
    """m_1 = 0.1 g_1, m_2 = 0.9 m_1 + 0.1 g_2: the second gradient is too small to turn the sign."""
    x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = SignSGD([x], lr=1.0, momentum=0.9)
    for gradient in ([1.0, 1.0], [-0.5, -1.0]):
        x.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    assert x.tolist() == [-2.0, 0.0]
    expected = torch.tensor([0.09 - 0.05, 0.09 - 0.1], dtype=torch.float64)
    torch.testing.assert_close(optimizer.state[x]["average"], expected)


def test_parameters_without_a_gradient_stay() -> None:
    x, y = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = SignSGD([{"params": [x], "lr": 0.5}, {"params": [y]}], lr=1.0)
    x.grad = torch.ones(1)
    assert optimizer.step(lambda: 3.0) == 3.0
    assert (x.item(), y.item()) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number above 0, got 0.0"),
        ({"lr": float("nan")}, "got nan"),
        ({"momentum": 1.0}, r"momentum must be a number in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, "got -0.1"),
        ({"momentum": "much"}, r"got 'much' \(str\)"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        SignSGD([torch.nn.Parameter(torch.zeros(1))], **settings)
