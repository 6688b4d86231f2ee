"""Both families keep the promises of every objective."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override

import zotoolkit
from zotoolkit import BlackBoxObjective
from zotoolkit.testing import ObjectiveConformance

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "separable": ("Functions/Rastrigin-v0", {"dim": 7}),
    "shifted": ("Functions/ShiftedSchwefel-v0", {"dim": 7}),
    "rotated": ("Functions/RotatedEllipsoid-v0", {"dim": 7}),
    "noisy": ("Functions/Sphere-v0", {"dim": 7, "noise": 0.5}),
    "noisy and coupled": ("Functions/Rosenbrock-v0", {"dim": 7, "noise": 0.5}),
    "float32": ("Functions/StyblinskiTang-v0", {"dim": 7, "dtype": "float32", "noise": 0.1}),
    "mlp": ("DNN/DigitsMLP-v0", {"hidden": 3, "dtype": "float64"}),
    "cnn": ("DNN/DigitsCNN-v0", {"channels": 1, "dtype": "float64"}),
}


@pytest.mark.parametrize("case", CASES)
class TestFamilies(ObjectiveConformance):
    @pytest.fixture(autouse=True)
    def _chosen(self, case: str) -> None:
        self.id, self.settings = CASES[case]

    @override
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.make(self.id, **self.settings)
