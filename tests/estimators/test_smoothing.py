"""PowerDecay: Spall's c_k."""

from __future__ import annotations

from typing import Any

import pytest

from zotoolkit import PowerDecay
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators.smoothing import smoothing_at


def test_it_falls_by_spalls_formula() -> None:
    decay = PowerDecay(0.4)
    assert [decay(k) for k in (0, 1, 99)] == [pytest.approx(0.4 / (k + 1) ** 0.101) for k in (0, 1, 99)]
    assert PowerDecay(1.0, exponent=0.5)(8) == pytest.approx(1 / 3)


def test_a_number_stays_as_it_is() -> None:
    assert smoothing_at(0.25, 1000) == 0.25
    assert smoothing_at(PowerDecay(0.25, 1.0), 1) == 0.125


@pytest.mark.parametrize(("initial", "exponent"), [(0, 1), (-1, 1), (1, 0), (1, -0.1), (float("nan"), 1), ("1", 1)])
def test_settings_that_cannot_be(initial: Any, exponent: Any) -> None:
    with pytest.raises(InvalidSetting, match="must be a finite number above 0, got"):
        PowerDecay(initial, exponent)


@pytest.mark.parametrize("iteration", [-1, 0.5])
def test_iterations_are_counted_from_0(iteration: Any) -> None:
    with pytest.raises(InvalidSetting, match="iteration must be an integer of at least 0"):
        PowerDecay(1.0)(iteration)
