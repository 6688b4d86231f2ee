"""How long a prediction holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.pde.measures import relative_errors, valid_time
from problems.pde.references import kuramoto_sivashinsky_references
from problems.pde.simulators import KuramotoSivashinsky, rollout
from zotoolkit.errors import InvalidSetting, InvalidState


@given(st.integers(0, 99), st.floats(0.05, 2.0), st.floats(0.05, 3.0))
def test_it_is_the_first_frame_beyond(seed: int, threshold: float, dt: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(9, 3, 4, generator=generator)
    predicted = true + 0.2 * torch.arange(9)[:, None, None] * torch.randn(true.shape, generator=generator)
    found = valid_time(predicted, true, dt, threshold=threshold)
    for row, error in enumerate(relative_errors(predicted, true).T.tolist()):
        first = next((frame for frame, value in enumerate(error) if value > threshold), 8)
        assert float(found[row]) == pytest.approx(first * dt)
    more = valid_time(predicted, true, dt, threshold=2 * threshold)
    assert bool((more >= found).all())
    torch.testing.assert_close(valid_time(predicted, true, dt, threshold=threshold, exponent=0.5), found / 2)


def test_a_blow_up_ends_it_and_what_holds_gets_the_whole_length() -> None:
    true = torch.ones(6, 3, 4)
    predicted = true.clone()
    predicted[3:, 1] = torch.nan
    predicted[0, 2] = 9.0
    assert valid_time(predicted, true, 0.5).tolist() == [2.5, 1.5, 0.0]


def test_a_scheme_of_higher_order_holds_longer() -> None:
    test = kuramoto_sivashinsky_references().test
    true = test.states.transpose(0, 1)
    times = []
    for order in (1, 2, 4):
        path = rollout(KuramotoSivashinsky(order=order), true[0], None, len(true) - 1)
        times.append(float(valid_time(path, true, 0.5).mean()))
    assert times[0] < 10 < 20 < times[1] < times[2] < 60


@pytest.mark.parametrize("changes", [{"dt": 0.0}, {"threshold": -1.0}, {"exponent": 0.0}])
def test_bad_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(changes))):
        valid_time(torch.ones(2, 1, 3), torch.ones(2, 1, 3), **{"dt": 1.0, **changes})


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidState, match="one shape"):
        valid_time(torch.ones(2, 1, 3), torch.ones(3, 1, 3), 1.0)
