from __future__ import annotations

import numpy as np
import pytest

from problems.pde.simulators.external.openfoam.format import foam_file, label_list, read_vectors, vector_list

VECTORS = np.arange(12.0).reshape(4, 3) / 7


def field(inside: bytes) -> bytes:
    return foam_file("volVectorField", b"dimensions [0 1 -1 0 0 0 0];\ninternalField " + inside + b";\n")


def test_vectors_come_back() -> None:
    content = field(b"nonuniform List<vector> " + vector_list(VECTORS))
    assert np.array_equal(read_vectors(content, 4), VECTORS)
    assert np.array_equal(read_vectors(field(b"uniform (0 -1.5 2e-3)"), 2), [[0, -1.5, 2e-3]] * 2)


def test_other_machines_numbers() -> None:
    numbers = VECTORS.astype(">f4")
    content = field(b"nonuniform   List<vector> \n4\n(" + numbers.tobytes() + b")")
    head, tail = content.split(b"internalField")
    content = head.replace(b"LSB", b"MSB").replace(b"scalar=64", b"scalar=32") + b"internalField" + tail
    np.testing.assert_allclose(read_vectors(content, 4), VECTORS, rtol=1e-6)


def test_lists_of_labels() -> None:
    assert label_list(np.array([[1, 2], [3, 4]])) == b"4\n(" + np.arange(1, 5, dtype=np.int32).tobytes() + b")"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no binary vector field"),
        (bytes(range(256)), "no binary vector field"),
        (foam_file("volVectorField", "internalField of another kind;"), "no binary vector field"),
        (field(b"nonuniform List<vector> " + vector_list(VECTORS[:3])), "3 vectors and not 4"),
        (field(b"nonuniform List<vector> " + vector_list(VECTORS))[:-60], "buffer"),
        (field(b"uniform (0 1)"), "broadcast"),
        (field(b"uniform (0 1 x)"), "could not convert"),
    ],
)
def test_what_is_no_field(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_vectors(content, 4)
