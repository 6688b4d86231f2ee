"""OpenFOAM's files: heads, lists of numbers in binary, fields read back.

Source: OpenFOAM User Guide, section "Basic input/output file format"; what the binary lists look like was found in
files that OpenFOAM had written.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from problems.pde.simulators.external.case_files import Array

_ORDER = "LSB" if sys.byteorder == "little" else "MSB"
_FIELD = re.compile(rb"internalField\s+(?:nonuniform\s+List<vector>\s*(\d+)\s*\(|uniform\s*\(([^)]*)\)\s*;)")
_SCALAR = re.compile(rb'arch\s+"(LSB|MSB);label=(?:32|64);scalar=(32|64)"')


def foam_file(kind: str, content: bytes | str, note: str = "") -> bytes:
    """Return a file of a class with its head; lists in it may be binary."""
    body = content.encode() if isinstance(content, str) else content
    note = f'note "{note}"; ' if note else ""
    head = f'format binary; arch "{_ORDER};label=32;scalar=64"; class {kind}; {note}object data;'
    return f"FoamFile {{ version 2.0; {head} }}\n".encode() + body + b"\n"


def label_list(numbers: Array) -> bytes:
    """Return a list of whole numbers."""
    return b"%d\n(%b)" % (numbers.size, np.ascontiguousarray(numbers, np.int32).tobytes())


def vector_list(vectors: Array) -> bytes:
    """Return a list of `(n, 3)` vectors."""
    return b"%d\n(%b)" % (len(vectors), np.ascontiguousarray(vectors, np.float64).tobytes())


def read_vectors(content: bytes, count: int) -> Array:
    """Return the `(count, 3)` inner values of a vector field's binary file.

    Raises:
        ValueError: If the file is cut short, of another size or no such file.
    """
    head, found = _SCALAR.search(content), _FIELD.search(content)
    if head is None or found is None:
        raise ValueError("it is no binary vector field of OpenFOAM")
    if found[1] is None:  # all alike
        vector = np.array([float(word) for word in found[2].split()])
        return np.broadcast_to(vector, (count, 3))
    kind: Any = np.dtype(("<" if head[1] == b"LSB" else ">") + ("f8" if head[2] == b"64" else "f4"))
    if int(found[1]) != count:
        raise ValueError(f"it holds {int(found[1])} vectors and not {count}")
    return np.frombuffer(content, kind, 3 * count, found.end()).reshape(count, 3)
