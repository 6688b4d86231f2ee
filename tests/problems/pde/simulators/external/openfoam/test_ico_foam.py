"""icoFoam itself, in small cavities."""

from __future__ import annotations

import logging
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems.pde.simulators import rollout
from problems.pde.simulators.external.openfoam import IcoFoam
from problems.pde.simulators.external.openfoam.ico_foam import case_environment
from tests.problems.pde.simulators.external.openfoam.needs import needs_openfoam
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState, ProgramMissing
from zotoolkit.seeding import torch_generator


def swirls(count: int, cells: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Smooth states, each another."""
    x = (torch.arange(cells, dtype=dtype) + 0.5) / cells
    shape = torch.sin(math.pi * x)[:, None] * torch.sin(math.pi * x)
    drawn = torch.randn(count, 2, 1, 1, generator=torch_generator(3), dtype=dtype)
    return 0.5 * drawn * shape


def speeds(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([[value] for value in values], dtype=dtype)


@needs_openfoam
def test_copies_in_one_case_are_the_runs_alone(tmp_path: Path) -> None:
    flow = IcoFoam(8, folder=tmp_path)
    state, params = swirls(5, 8), speeds(0.5, 1, -1.5, 2, 0)
    together = flow.step(state, params)
    alone = torch.cat([flow.step(state[row : row + 1], params[row : row + 1]) for row in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-8)
    cases = IcoFoam(8, states_per_process=2, workers=2, folder=tmp_path).step(state, params)
    torch.testing.assert_close(cases, alone, rtol=0, atol=1e-8)
    assert float((alone - state).abs().amax((1, 2, 3)).min()) > 1e-2
    assert flow.state_steps == 10
    assert list(tmp_path.iterdir()) == []


@needs_openfoam
@pytest.mark.parametrize("scheme", ["upwind", "linear"])
def test_the_mirror_image_moves_like_the_mirror_image(scheme: Any) -> None:
    flow = IcoFoam(8, scheme=scheme)
    state = swirls(2, 8)
    mirrored = state.flip(-1) * torch.tensor([1.0, -1.0])[:, None, None]
    after = flow.step(torch.cat((state, mirrored)), speeds(1, 0.5, -1, -0.5))
    torch.testing.assert_close(
        after[2:], after[:2].flip(-1) * torch.tensor([1.0, -1.0])[:, None, None], atol=1e-7, rtol=0
    )


@needs_openfoam
def test_what_rests_stays_and_what_moves_slows_down() -> None:
    flow = IcoFoam(8, viscosity=1e-2)
    rest = flow.at_rest(2)
    assert torch.equal(flow.step(rest, torch.zeros(2, 1)), rest)
    path = rollout(flow, swirls(2, 8), speeds(0, 0), 3)
    energy = path.square().sum((2, 3, 4))
    assert bool((energy[1:] < energy[:-1]).all())


@needs_openfoam
def test_the_steady_flow_at_reynolds_100_is_the_literatures() -> None:
    """Ghia, Ghia and Shin, J. Comput. Phys. 48, 1982, tables I and II: extremes along the lines through the centre."""
    flow = IcoFoam(32, dt=4.0, substeps=160, viscosity=1e-2, scheme="linear", tolerance=1e-6)
    (v_y, v_x) = rollout(flow, flow.at_rest(), torch.ones(1, 1), 3)[-1, 0]
    upwards, across = v_x[:, 15:17].mean(1), v_y[15:17].mean(0)
    assert float(upwards.min()) == pytest.approx(-0.2109, abs=0.006)
    assert float(across.max()) == pytest.approx(0.1753, abs=0.006)
    assert float(across.min()) == pytest.approx(-0.2453, abs=0.006)


@needs_openfoam
def test_the_tolerance_is_kept() -> None:
    state, params = swirls(3, 8), speeds(0.5, 1, 2)
    exact = IcoFoam(8, tolerance=1e-13).step(state, params)
    for tolerance in (1e-4, 1e-7):
        flow = IcoFoam(8, tolerance=tolerance)
        assert flow.accuracy(torch.float64) == tolerance
        assert float((flow.step(state, params) - exact).norm() / exact.norm()) < tolerance


@needs_openfoam
def test_a_copy_that_blows_up_harms_no_other(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    flow = IcoFoam(8, scheme="linear", folder=tmp_path)
    state, params = swirls(4, 8), speeds(1, 1, 1, 1)
    state[2] *= 1e200
    with caplog.at_level(logging.WARNING, "zotoolkit"), pytest.warns(CFLWarning):
        after = flow.step(state, params)
    assert after[:, 0, 0, 0].isnan().tolist() == [False, False, True, False]
    torch.testing.assert_close(after[[0, 1, 3]], flow.step(state[[0, 1, 3]], params[:3]), rtol=0, atol=1e-8)
    assert "icoFoam failed for 1 of 4 states" in caplog.text
    assert list(tmp_path.iterdir()) == []


@needs_openfoam
def test_long_time_steps_are_warned_of_once() -> None:
    flow = IcoFoam(4, dt=1.0, substeps=1)
    with pytest.warns(CFLWarning, match=r"dx is 8, above 3, .* substeps=3 would") as caught:
        flow.step(flow.at_rest(2), torch.tensor([[0.1], [-2.0]]))
    assert Path(caught[0].filename) == Path(__file__)
    flow.step(flow.at_rest(2), torch.tensor([[0.1], [-2.0]]))
    IcoFoam(4, dt=1.0, substeps=3).step(flow.at_rest(1), torch.tensor([[2.0]]))


@needs_openfoam
def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    flow = IcoFoam(64, substeps=1_000_000, timeout=0.3, folder=tmp_path)
    assert bool(flow.step(flow.at_rest(), torch.ones(1, 1)).isnan().all())
    assert list(tmp_path.iterdir()) == []


@needs_openfoam
def test_openfoam_finds_no_fault_with_the_mesh(tmp_path: Path) -> None:
    if shutil.which("checkMesh") is None:
        pytest.skip("OpenFOAM's checkMesh is not installed")
    flow = IcoFoam(4)
    flow.files.write(tmp_path, np.zeros((3, 2, 4, 4)), np.ones((3, 1)))
    environment = {"PATH": "/usr/bin:/bin", **case_environment("icoFoam")}
    said = subprocess.run(["checkMesh"], cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert "Mesh OK." in said
    assert "Number of regions: 3" in said


@needs_openfoam
def test_the_finer_one_and_its_average() -> None:
    flow = IcoFoam(4, dt=0.5, substeps=3, workers=2, folder="/tmp")
    fine = flow.finer(2)
    assert (fine.cells, fine.dt, fine.substeps, fine.scheme, fine.viscosity) == (8, 0.5, 6, "linear", 1e-3)
    assert fine.step(fine.at_rest(), torch.ones(1, 1)).shape == (1, 2, 8, 8)
    with pytest.raises(InvalidSetting, match="factor"):
        flow.finer(0)


@needs_openfoam
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cells": 1}, "cells must be an integer of at least 2"),
        ({"dt": 0.0}, "dt must be"),
        ({"substeps": 0}, "substeps must be"),
        ({"viscosity": -1e-3}, "viscosity must be a finite number above 0, got -0.001"),
        ({"scheme": "upwinds"}, "Did you mean 'upwind'?"),
        ({"tolerance": 0}, "tolerance must be"),
        ({"correctors": 0}, "correctors must be"),
        ({"states_per_process": 0}, "states_per_process must be"),
        ({"workers": 0}, "workers must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        IcoFoam(**changes)


@needs_openfoam
def test_states_that_cannot_be_advanced() -> None:
    flow = IcoFoam(4)
    with pytest.raises(InvalidState, match=r"IcoFoam takes \(B, 2, 4, 4\) states"):
        flow.step(torch.zeros(1, 2, 8, 8), torch.ones(1, 1))
    state = flow.at_rest(2)
    state[0, 1, 2, 3] = math.nan
    assert flow.step(state, torch.ones(2, 1))[:, 0, 0, 0].isnan().tolist() == [True, False]


def test_without_openfoam_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    case_environment.cache_clear()
    with pytest.raises(ProgramMissing, match="apt install openfoam"):
        IcoFoam()
    (tmp_path / "icoFoam").write_text("#!/bin/sh\n")
    (tmp_path / "icoFoam").chmod(0o700)
    monkeypatch.delenv("WM_PROJECT_DIR", raising=False)
    monkeypatch.setattr("problems.pde.simulators.external.openfoam.ico_foam._PLACES", ())
    with pytest.raises(ProgramMissing, match="set WM_PROJECT_DIR"):
        IcoFoam()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/controlDict").touch()
    monkeypatch.setenv("WM_PROJECT_DIR", str(tmp_path))
    flow = IcoFoam(4)  # it ends with code 0 and has computed nothing
    assert bool(flow.step(flow.at_rest(), torch.ones(1, 1)).isnan().all())
    case_environment.cache_clear()
