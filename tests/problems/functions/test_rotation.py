from __future__ import annotations

import pytest
import torch

from problems.functions.rotation import BLOCK, DENSE_UP_TO, Rotation


@pytest.mark.parametrize("dim", [1, 2, 40, DENSE_UP_TO, DENSE_UP_TO + 1, 1000, 1003])
def test_matrices_are_orthogonal(dim: int) -> None:
    rotation = Rotation(dim, seed=3, dtype=torch.float64)
    matrix = rotation(torch.eye(dim, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(dim, dtype=torch.float64), rtol=0.0, atol=1e-12)


def test_every_coordinate_is_mixed_and_memory_stays_linear() -> None:
    dim = 10_000
    rotation = Rotation(dim, seed=0, dtype=torch.float32)
    e = torch.zeros(3, dim)
    e[[0, 1, 2], [0, 5000, 9999]] = 1.0
    assert (rotation(e).abs() > 1e-9).sum(1).tolist() == [BLOCK, BLOCK, BLOCK]
    assert rotation._blocks.numel() == dim * BLOCK


def test_dense_rotations_are_uniform() -> None:
    # An entry of a Haar matrix has mean 0 and variance 1/d: 1,000 draws of one entry, 4 standard errors.
    entries = torch.stack([Rotation(3, seed, torch.float64)._blocks[0, 0, 0] for seed in range(1000)])
    assert abs(float(entries.mean())) < 4 * (1 / 3 / 1000) ** 0.5
    assert float(entries.var()) == pytest.approx(1 / 3, rel=0.15)


def test_seeds_decide() -> None:
    x = torch.ones(1, 50, dtype=torch.float64)
    first, again, other = (Rotation(50, seed, torch.float64)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
