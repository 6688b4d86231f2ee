"""py-pde's equations against our own, and against their schemes written out."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from typing import Any

import pytest
import torch

from problems.pde.simulators import Burgers, rollout
from problems.pde.simulators.external.py_pde import from_py_pde
from zotoolkit.errors import InvalidSetting, MissingExtra

needs_py_pde = pytest.mark.skipif(
    importlib.util.find_spec("pde") is None, reason="py-pde is not installed: pip install 'zotoolkit[pypde]'"
)
POINTS = 96


def line(points: int = POINTS) -> Any:
    import pde

    return pde.CartesianGrid([[0, 2 * math.pi]], points, periodic=True)


def waves() -> torch.Tensor:
    x = (torch.arange(POINTS, dtype=torch.float64) + 0.5) * 2 * math.pi / POINTS
    return torch.stack((torch.sin(x), torch.cos(2 * x) - 0.3 * torch.sin(x)))


@needs_py_pde
def test_diffusion_is_its_scheme() -> None:
    import pde

    heat = from_py_pde(pde.DiffusionPDE, line(), dt=0.01, substeps=10, parameters=["diffusivity"])
    state, params = waves(), torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    after = rollout(heat, state, params, 2)[-1]
    expected = state
    for _ in range(20):
        bent = expected.roll(1, 1) - 2 * expected + expected.roll(-1, 1)
        expected = expected + 1e-3 * params * bent / (2 * math.pi / POINTS) ** 2
    torch.testing.assert_close(after, expected)
    assert repr(heat) == f"<py-pde: states ({POINTS},), diffusivity>"


@needs_py_pde
def test_burgers_agrees_with_the_built_in_one() -> None:
    import pde

    class Conservative(pde.PDEBase):
        def __init__(self, viscosity: float) -> None:
            super().__init__()
            self.viscosity = viscosity

        def evolution_rate(self, state: Any, t: float = 0) -> Any:
            return self.viscosity * state.laplace("periodic") - (0.5 * state**2).gradient("periodic")[0]

    theirs = from_py_pde(Conservative, line(), dt=0.2, substeps=200, parameters=["viscosity"])
    ours = Burgers(points=POINTS, dt=0.2, substeps=20, length=2 * math.pi)
    state, params = waves(), torch.full((2, 1), 0.1, dtype=torch.float64)
    after, expected = theirs.step(state, params), ours.step(state, params)
    assert (
        float((after - expected).norm() / expected.norm()) < 5e-3 < 0.05 < float((after - state).norm() / state.norm())
    )


@needs_py_pde
def test_several_fields_and_a_state_that_fails() -> None:
    import pde

    class Swap(pde.PDEBase):
        def evolution_rate(self, state: Any, t: float = 0) -> Any:
            if float(abs(state[0].data).max()) > 10:
                raise ArithmeticError("too large")
            return pde.FieldCollection([state[1].copy(), state[0].copy()])

    swap = from_py_pde(Swap(), pde.UnitGrid([4, 3], periodic=True), dt=0.5, components=2)
    state = torch.rand(2, 2, 4, 3, dtype=torch.float64)
    state[1, 0] += 20
    after = swap.step(state)
    torch.testing.assert_close(after[0], state[0] + 0.5 * state[0].flip(0))
    assert bool(after[1].isnan().all())


@needs_py_pde
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"equation": 3}, "equation must be a pde.PDEBase, or a function of named parameters, got 3 (int)"),
        ({"parameters": ()}, "equation must be a pde.PDEBase, or a function of named parameters"),
        ({"equation": "a PDE"}, "with parameters, equation must be a function from their values"),
        ({"grid": 64}, "grid must be a grid of py-pde"),
        ({"dt": 0}, "dt must be"),
        ({"substeps": 0}, "substeps must be"),
        ({"components": 0}, "components must be"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    import pde

    given: dict[str, Any] = {"equation": pde.DiffusionPDE, "grid": line(4), "dt": 0.1, "parameters": ["d"]} | changes
    if given["equation"] == "a PDE":
        given["equation"] = pde.DiffusionPDE(0.1)
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        from_py_pde(given.pop("equation"), given.pop("grid"), **given)


@needs_py_pde
def test_a_function_that_returns_no_equation() -> None:
    step = from_py_pde(lambda d: d, line(4), dt=0.1, parameters=["d"]).step
    with pytest.raises(InvalidSetting, match=r"equation must return a pde\.PDEBase"):
        step(torch.zeros(1, 4), torch.ones(1, 1))


def test_without_py_pde_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pde", None)
    with pytest.raises(MissingExtra, match=r"zotoolkit\[pypde\]"):
        from_py_pde(None, None, dt=0.1)
