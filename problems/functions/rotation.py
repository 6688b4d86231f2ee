"""Seeded orthogonal matrices that stay affordable at a million dimensions.

Up to d = 512 the matrix is one dense block, uniform over the orthogonal group (Haar): the Q of a normal matrix's QR
decomposition, with the signs of R's diagonal moved into Q. Beyond that it is P_out B P_in: two random permutations
around a block-diagonal matrix of Haar blocks of 40, so 40 numbers a coordinate instead of d.

Source: Mezzadri, Notices of the AMS 54(5), 2007 (uniform orthogonal matrices); Varelas et al., Benchmarking
large-scale continuous optimizers: the bbob-largescale testbed, 2019, arXiv:1903.06396 (permuted blocks of 40).
"""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.seeding import torch_generator

DENSE_UP_TO = 512
BLOCK = 40
_BLOCKS, _PERMUTATIONS = 0, 1


class Rotation:
    """An orthogonal map of R^d.

    Args:
        dim: Number of coordinates d.
        seed: What the matrix derives from.
        dtype: Of the matrix; it is drawn in float64 whatever this is.
        device: Where it lives.

    Examples:
        >>> rotation = Rotation(dim=3, seed=1, dtype=torch.float64)
        >>> x = torch.tensor([[3.0, 0.0, 4.0]], dtype=torch.float64)
        >>> round(float(torch.linalg.vector_norm(rotation(x))), 12)
        5.0
    """

    def __init__(self, dim: int, seed: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self.dim = dim
        size = dim if dim <= DENSE_UP_TO else BLOCK
        count = -(-dim // size)
        generator = torch_generator(seed, _BLOCKS)
        drawn = torch.randn(count, size, size, dtype=torch.float64, generator=generator)
        rest = dim - (count - 1) * size
        # What the last block has beyond d turns into itself: those coordinates are zero padding.
        drawn[-1, rest:, :] = drawn[-1, :, rest:] = 0.0
        drawn[-1].diagonal()[rest:] = 1.0
        q, r = torch.linalg.qr(drawn)
        signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
        self._blocks = (q * signs[:, None, :]).to(device=device, dtype=dtype)
        self._inward: Tensor | None = None
        self._outward: Tensor | None = None
        if count > 1:
            generator = torch_generator(seed, _PERMUTATIONS)
            self._inward = torch.randperm(dim, generator=generator).to(device)
            self._outward = torch.randperm(dim, generator=generator).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate `(q, d)` points."""
        if self._inward is None or self._outward is None:
            return x @ self._blocks[0].T
        count, size, _ = self._blocks.shape
        padded = torch.nn.functional.pad(x[:, self._inward], (0, count * size - self.dim))
        turned = torch.einsum("qbi,bji->qbj", padded.view(len(x), count, size), self._blocks)
        return turned.reshape(len(x), -1)[:, : self.dim][:, self._outward]
