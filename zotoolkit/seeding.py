"""Seeds from seeds: every random draw is a pure function of (root seed, path), so nothing has to be replayed.

The mixer is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in Python integers and in int64 tensors alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zotoolkit.errors import InvalidSetting, brief

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def check_seed(seed: object, name: str = "seed") -> int:
    """Return the seed as a Python int.

    Raises:
        InvalidSetting: If it is not an integer in [0, 2^63).
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 1 << 63:
        raise InvalidSetting(f"{name} must be an integer in [0, 2**63), got {brief(seed)}.")
    return int(seed)


def derive_seed(root: int, *path: int) -> int:
    """Return a seed in [0, 2^63) for a place in a tree of random draws.

    Args:
        root: The run's seed.
        path: What the draw is for, such as (iteration,) or (epoch, image).

    Examples:
        >>> derive_seed(0, 1) == derive_seed(0, 1)
        True
        >>> derive_seed(0, 1) == derive_seed(1, 0)
        False
    """
    state = root & _MASK
    for step in (*path, 0x5EED):
        state = (state + _GOLDEN * ((step & _MASK) + 1)) & _MASK
        state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
        state ^= state >> 31
    return state >> 1


def mix64(value: Tensor) -> Tensor:
    """Scramble `(n,)` int64 into `(n,)` int64 with SplitMix64's finaliser; a bijection."""
    value = value + _signed(_GOLDEN)
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _signed(_MIX_1)
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _signed(_MIX_2)
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def derive_seeds(root: int, iteration: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return `(count,)` int64 direction seeds for one iteration, all different within it."""
    start = derive_seed(root, iteration)
    return mix64(torch.arange(count, dtype=torch.int64, device=device) + start)


def torch_generator(root: int, *path: int) -> torch.Generator:
    """Return a CPU generator for a place in the tree of draws."""
    return torch.Generator().manual_seed(derive_seed(root, *path))


def numpy_generator(root: int, *path: int) -> np.random.Generator:
    """Return a NumPy generator for a place in the tree of draws."""
    return np.random.default_rng(derive_seed(root, *path))
