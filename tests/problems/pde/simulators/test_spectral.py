from __future__ import annotations

import pytest
import torch

from problems.pde.simulators.spectral import as_matrix, first_derivative, random_waves, two_thirds


@pytest.mark.parametrize("points", [16, 17])
def test_multipliers_as_matrices(points: int) -> None:
    x = 3.0 / points * torch.arange(points, dtype=torch.float64)
    k = 2 * torch.pi / 3.0
    slope = torch.sin(2 * k * x) @ as_matrix(first_derivative(points, 3.0), points)
    torch.testing.assert_close(slope, 2 * k * torch.cos(2 * k * x), rtol=0, atol=1e-12)


def test_random_waves_are_the_same_functions_on_every_grid() -> None:
    fine = random_waves(500, 64, 5, 3, torch.float64, "cpu")
    coarse = random_waves(500, 16, 5, 3, torch.float64, "cpu")
    torch.testing.assert_close(fine[:, ::4], coarse)
    assert abs(float(fine.var()) - 1) < 0.1
    assert not torch.equal(coarse, random_waves(500, 16, 5, 4, torch.float64, "cpu"))


@pytest.mark.parametrize("points", [8, 9, 15, 16, 48])
def test_products_of_masked_waves_fold_nothing_onto_themselves(points: int) -> None:
    """The square of a masked field is the same, on the masked waves, as on a grid that carries all of the square."""
    mask = two_thirds(points)
    kept = int(mask.sum())
    waves = torch.randn(kept, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(points))
    field = torch.complex(waves[:, 0], waves[:, 1])
    field.imag[0] = 0
    small, large = (torch.fft.irfft(field, n=n, norm="forward") ** 2 for n in (points, 4 * points))
    on_small, on_large = (torch.fft.rfft(u, norm="forward")[:kept] for u in (small, large))
    torch.testing.assert_close(on_small, on_large)
