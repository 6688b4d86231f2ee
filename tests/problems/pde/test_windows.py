"""Windows: which stretches belong to a context, how long they are, and that every start comes once an epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.pde.references import Trajectories
from problems.pde.windows import Windows
from zotoolkit.errors import InvalidSetting

# Entry (n, t) of the states is 100 n + t, so that a window tells where it was cut.
STATES = (100 * torch.arange(3.0)[:, None] + torch.arange(10.0))[..., None]
DATA = Trajectories(STATES, torch.arange(3.0)[:, None])


def test_a_window_is_a_stretch_of_one_trajectory() -> None:
    window = Windows(DATA, 4, 3).at(seed=0, context=7)
    assert (len(window), window.steps) == (4, 3)
    assert window.targets.shape == (3, 4, 1)
    assert torch.equal(window.targets, window.start + torch.arange(1.0, 4.0)[:, None, None])
    assert torch.equal(window.params[:, 0], window.start[:, 0] // 100)
    assert torch.equal(window.before, window.targets - 1)


def test_every_start_comes_once_an_epoch_in_another_order_each_time() -> None:
    windows = Windows(DATA, 3, 4)
    assert windows.per_epoch == 6  # 3 trajectories of 6 starts each
    epochs = [
        torch.cat([windows.at(1, context).start for context in range(6 * epoch, 6 * epoch + 6)]).flatten()
        for epoch in range(2)
    ]
    wanted = STATES[:, :6].flatten()
    assert all(torch.equal(epoch.sort().values, wanted) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_context_and_seed_decide() -> None:
    one, other = Windows(DATA, 2, 3), Windows(DATA, 2, 3)
    other.at(5, 40)  # what was asked before does not matter
    for context in (0, 3, 40):
        assert torch.equal(one.at(2, context).start, other.at(2, context).start)
    assert any(not torch.equal(one.at(2, context).start, one.at(3, context).start) for context in range(4))


def test_a_curriculum_goes_up_with_the_contexts() -> None:
    windows = Windows(DATA, 2, ((0, 1), (5, 3), (9, 6)))
    assert [windows.steps(context) for context in (0, 4, 5, 8, 9, 1000)] == [1, 1, 3, 3, 6, 6]
    assert windows.longest == 6
    assert windows.at(0, 6).steps == 3
    assert windows.per_epoch == 6  # starts that fit the longest


def test_spread_windows_are_the_same_always() -> None:
    window = Windows(DATA, 2, ((0, 1), (5, 3))).spread(5)
    assert (len(window), window.steps) == (5, 3)
    assert window.start[[0, -1], 0].tolist() == [0.0, 206.0]
    assert len(Windows(DATA, 2, 3).spread(1000)) == 21


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "windows must be"),
        ({"count": 1000}, "windows must be at most the 21"),
        ({"unroll": 0}, "unroll must be"),
        ({"unroll": 10}, "at least 11 frames, got 10"),
        ({"unroll": "4"}, "unroll must be"),
        ({"unroll": ()}, "begins with context 0"),
        ({"unroll": ((1, 4),)}, "begins with context 0"),
        ({"unroll": ((0, 4), (0, 5))}, "goes up"),
        ({"unroll": ((0, 2), (9, 3), (5, 4))}, "goes up"),
        ({"unroll": ((0, 4, 5),)}, "holds pairs"),
        ({"unroll": (4, 8)}, "holds pairs"),
        ({"unroll": ((0, 2.5),)}, "unroll must be"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Windows(DATA, **{"count": 2, "unroll": 3, **settings})
