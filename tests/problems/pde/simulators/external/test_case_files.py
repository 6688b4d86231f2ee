from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from problems.pde.simulators.external import ExternalProgram, NpyFiles
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize("names", [("a", "a", "b"), ("a/b", "c", "d"), ("", "b", "c"), (1, "b", "c")])
def test_names_of_files_that_cannot_be_used(names: Any) -> None:
    with pytest.raises(InvalidSetting, match="three different names of files"):
        NpyFiles(*names)


NPY_ANSWERS = {
    "pickled": "np.save('out', np.array([{}, 1, 2], object), allow_pickle=True); os.rename('out.npy', 'after.npy')",
    "complex": "np.save('after.npy', np.ones(3) * 1j)",
    "cut": "np.save('after.npy', np.ones(3)); os.truncate('after.npy', 140)",
    "empty": "open('after.npy', 'w').close()",
    "huge": (
        "head = {'descr': '<f8', 'fortran_order': False, 'shape': (10**13,)};"
        "np.lib.format.write_array_header_1_0(open('after.npy', 'wb'), head)"
    ),
    "integers": "np.save('after.npy', np.array([3, 2, 1]))",
    "too large": "np.save('after.npy', np.array([1e300, 2, 1]))",
    "fortran": "np.save('after.npy', np.asfortranarray(np.array([3.0, 2, 1])))",
}


def test_npy_files_of_all_kinds(place: Path) -> None:
    lines = "import os, numpy as np; k = int(np.load('params.npy')[0]); exec(os.environ['ANSWERS'].split('\\n')[k])"
    answering = ExternalProgram(
        [sys.executable, "-c", lines],
        fields=(3,),
        parameters=["kind"],
        environment={"ANSWERS": "\n".join(NPY_ANSWERS.values())},
        folder=place,
        workers=2,
    )
    kinds = list(NPY_ANSWERS)
    after = answering.step(torch.ones(len(kinds), 3), torch.arange(float(len(kinds)))[:, None])
    good = dict(zip(kinds, after.tolist(), strict=True))
    assert good.pop("integers") == good.pop("fortran") == [3, 2, 1]
    assert all(math.isnan(row[0]) for row in good.values())
