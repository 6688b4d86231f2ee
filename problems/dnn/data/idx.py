"""IDX, the file format of MNIST and its relatives: a header of big-endian integers, then bytes.

Header: two zero bytes, the type (8 for unsigned bytes), the number of axes, and the length of each axis in four bytes.
Source: LeCun et al., http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zotoolkit.errors import DataDamaged

_UNSIGNED_BYTES = 8


def read_idx(path: Path, axes: int) -> Tensor:
    """Return the uint8 tensor that a file holds, compressed by gzip or not.

    Args:
        path: The file; gzip is told by the name.
        axes: How many axes it must have: 3 for images, 1 for labels.

    Raises:
        DataDamaged: If it is no IDX file of that many axes, cut short, or has bytes left over.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataDamaged(f"{path} cannot be unpacked: {error}; fetch it anew.") from error
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
        raise DataDamaged(
            f"{path} is no IDX file of unsigned bytes with {axes} axes: it starts with "
            f"{content[:4].hex(' ') or 'nothing'}."
        )
    shape = [int(length) for length in np.frombuffer(content, ">u4", axes, offset=4)]
    wanted = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != wanted or not shape[0]:
        raise DataDamaged(
            f"{path} has {len(content):,} bytes, but {wanted:,} by its header {tuple(shape)}: cut short; fetch it anew."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
