from __future__ import annotations

import math

import pytest
import torch

from problems.pde.simulators.etd import etd_multipliers, phi_1, phi_2
from zotoolkit.errors import InvalidSetting

POINTS = torch.tensor([-1e6, -300.0, -20.0, -1.0, -0.3, -1e-3, -1e-8, 0.0, 1e-8, 1e-3, 0.25, 1.0], dtype=torch.float64)


def by_series(z: float, shift: int) -> float:
    """phi of a small argument: sum_k z^k / (k + shift)!."""
    return math.fsum(z**k / math.factorial(k + shift) for k in range(40))


def exact(z: float, shift: int) -> float:
    if abs(z) <= 1:
        return by_series(z, shift)
    return math.expm1(z) / z if shift == 1 else (math.expm1(z) - z) / z**2


@pytest.mark.parametrize(("phi", "shift"), [(phi_1, 1), (phi_2, 2)])
def test_phi_functions_have_no_cancellation(phi: object, shift: int) -> None:
    assert callable(phi)
    expected = torch.tensor([exact(float(z), shift) for z in POINTS], dtype=torch.float64)
    torch.testing.assert_close(phi(POINTS), expected, rtol=1e-13, atol=1e-15)


def test_coefficients_of_order_4_near_and_at_zero() -> None:
    """At z = 0 the scheme is the classical Runge-Kutta method: weights 1/6, 1/3, 1/3, 1/6."""
    z = torch.tensor([0.0, 1e-9, -1e-9], dtype=torch.float64)
    found = etd_multipliers(4, z, torch.ones(3, dtype=torch.complex128), 1.0)
    for name, weight in {"f_1": 1 / 6, "2 f_2": 1 / 3, "f_3": 1 / 6, "q": 1 / 2, "e": 1.0, "E": 1.0}.items():
        torch.testing.assert_close(found[name].real, torch.full((3,), weight, dtype=torch.float64), rtol=1e-8, atol=0)
    assert float(found["f_1"].real[0]) == pytest.approx(1 / 6, rel=1e-13)


@pytest.mark.parametrize("order", [0, 3, 5, 1.0, "2", True, None])
def test_orders_there_are_not(order: object) -> None:
    with pytest.raises(InvalidSetting, match="order must be one of 1, 2, 4"):
        etd_multipliers(order, torch.zeros(1), torch.zeros(1), 1.0)  # type: ignore[arg-type]
