"""Noise: a function of its key and nothing else, and normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zotoolkit.certification.noise import Stage, noisy, standard_normals


@given(size=st.sampled_from([1, 2, 64, 784, 3072, 5000]), ends=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_any_range_of_samples_is_a_slice_of_the_whole(size: int, ends: tuple[int, int]) -> None:
    start, stop = sorted(ends)
    stop = min(stop, start + 40)
    whole = standard_normals(5, 7, Stage.ESTIMATION, 0, 300, size)
    assert torch.equal(standard_normals(5, 7, Stage.ESTIMATION, start, stop, size), whole[start:stop])


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, 0, Stage.SELECTION), (1, 0, Stage.SELECTION), (0, 1, Stage.SELECTION), (0, 0, Stage.ESTIMATION)]
    rows = torch.stack([standard_normals(*key, 0, 64, 64).flatten() for key in keys])
    correlation = torch.corrcoef(rows) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / 64


@pytest.mark.parametrize("size", [3, 64, 3072])
def test_it_is_standard_normal(size: int) -> None:
    samples = standard_normals(3, 1, Stage.ESTIMATION, 0, 200_000 // size, size).double()
    assert stats.kstest(samples.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(float(samples.mean())) < 4 / samples.numel() ** 0.5
    # Lengths of whole samples, and sums over samples: nothing hangs together within a sample or across.
    assert stats.kstest((samples**2).sum(1).numpy(), "chi2", args=(size,)).pvalue > 1e-3
    assert stats.kstest((samples.sum(0) / len(samples) ** 0.5).numpy(), "norm").pvalue > 1e-3
    neighbours = torch.corrcoef(torch.stack([samples[:-1].flatten(), samples[1:].flatten()]))[0, 1]
    assert abs(float(neighbours)) < 4 / samples.numel() ** 0.5


def test_blocks_of_many_images_differ() -> None:
    first = torch.stack([standard_normals(0, image, Stage.ESTIMATION, 0, 1, 8)[0] for image in range(2000)])
    assert len(np.unique(first.numpy(), axis=0)) == 2000
    assert stats.kstest(first.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_added_and_nothing_clipped(dtype: torch.dtype) -> None:
    image = torch.linspace(0, 1, 12, dtype=dtype).view(1, 3, 4)
    found = noisy(image, 2.0, 0, 4, Stage.SELECTION, 10, 50)
    wanted = image + 2.0 * standard_normals(0, 4, Stage.SELECTION, 10, 50, 12).to(dtype).view(40, 1, 3, 4)
    assert found.dtype == dtype
    assert torch.allclose(found, wanted, rtol=0, atol=1e-6)
    assert float(found.min()) < -1
    assert float(found.max()) > 2
    assert float(image.max()) == 1.0
