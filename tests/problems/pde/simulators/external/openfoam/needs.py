"""What tests of OpenFOAM need."""

from __future__ import annotations

import shutil

import pytest

needs_openfoam = pytest.mark.skipif(
    shutil.which("icoFoam") is None, reason="OpenFOAM is not installed: apt install openfoam"
)
