"""A step of the wake flow: ours against PhiFlow's compiled torch step and against conjugate gradients, one core.

Milliseconds a state and step at 64 x 32 cells, 64 states in a batch, float32, Reynolds numbers 1e5 to 1e6, states some
steps after pokes of different strength. PhiFlow's mask is soft, so is ours where the two are compared; its pressure
solve has the papers' tolerance. The other baseline is our own step with the pressure from plain conjugate gradients
in torch, batched, at the same tolerance: the obvious implementation.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor

from problems.pde.simulators import Simulator, rollout
from problems.pde.simulators.wake import Projection, WakeFlow, divergence
from problems.pde.simulators.wake.geometry import solid_cells
from problems.pde.simulators.wake.phiflow import PhiFlowWake

GOAL = 15.0
_TOLERANCE = 1e-5
_MOST = 5000  # iterations


class ConjugateGradients(Projection):
    """The same projection by conjugate gradients, from a pressure of 0; a batch stops when all its states have."""

    def __init__(self, solid: Tensor) -> None:
        super().__init__(solid)
        self.fluid = (~solid).float()
        self.faces = self.open.float()
        self.iterations = 0

    def __call__(self, velocity: Tensor) -> Tensor:
        """Return velocities whose divergence is below the tolerance."""
        faces, fluid = self.faces.to(velocity), self.fluid.to(velocity)
        velocity = velocity * faces
        residual = divergence(velocity) * fluid
        pressure = torch.zeros_like(residual)
        direction, square = residual.clone(), residual.square().sum((1, 2), keepdim=True)
        enough = (_TOLERANCE**2 * square).clamp(min=_TOLERANCE**2)
        self.iterations = 0
        while self.iterations < _MOST and bool((square > enough).any()):
            image = divergence(_gradient(direction) * faces) * fluid
            length = square / (direction * image).sum((1, 2), keepdim=True).clamp(max=-1e-30)
            pressure = pressure + length * direction
            residual = residual - length * image
            fresh = residual.square().sum((1, 2), keepdim=True)
            direction = residual + fresh / square.clamp(min=1e-30) * direction
            square = fresh
            self.iterations += 1
        return velocity - _gradient(pressure) * faces


def _gradient(pressure: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(pressure, (1, 1, 1, 1))
    return torch.stack((padded[:, 1:, 1:] - padded[:, :-1, 1:], padded[:, 1:, 1:] - padded[:, 1:, :-1]), 1)


@torch.no_grad()
def run(options: Options) -> Report:
    torch.set_num_threads(1)
    states = 4 if options.quick else 64
    soft, hard = WakeFlow(32, mask="soft"), WakeFlow(32)
    plain = WakeFlow(32)
    plain.projection = iterative = ConjugateGradients(solid_cells(32))
    rows: list[Row] = []
    missing: list[str] = []
    notes: list[str] = []
    state, params = _states(soft, states, options)
    if options.device != "cpu":
        missing.append("PhiFlow on a GPU: PhiFlowWake runs on the CPU")
    elif importlib.util.find_spec("phi") is None:
        missing.append("PhiFlow is not installed: pip install phiflow==3.4.0")
    else:
        compiled = PhiFlowWake(32, tol=_TOLERANCE)
        for label, theirs, goal, repeats in (
            ("PhiFlow, compiled", compiled, GOAL, 15),
            ("PhiFlow, eager", PhiFlowWake(32, tol=_TOLERANCE, compiled=False), None, 5),
        ):
            rows.append(_row(label, theirs, soft, state, params, repeats, goal, options))
        apart = compiled.step(state, params) - soft.step(state, params)
        notes.append(
            f"one step by PhiFlow and one of ours are {float(apart.norm() / state.norm()):.2g} apart, relative L2"
        )
    state, params = _states(hard, states, options)
    ratio_only = GOAL if options.device != "cpu" else None
    rows.append(_row("conjugate gradients, torch", plain, hard, state, params, 7, ratio_only, options))
    notes.append(f"conjugate gradients take {iterative.iterations} iterations a step")
    for label, other in (
        ("ours, all states in one chunk", WakeFlow(32, chunk=states)),
        ("ours, 16 states a chunk", WakeFlow(32, chunk=16)),
    ):
        rows.append(_row(label, other, hard, state, params, 15, None, options))
    doubled = (state.double(), params.double())
    rows.append(_row("ours, float64", hard, hard, state, params, 15, None, options, theirs_on=doubled))
    fine = WakeFlow(128)
    few = _states(fine, 2 if options.quick else 8, options)
    rows.append(_row("ours, 256 x 128 cells", fine, hard, state, params, 9, None, options, theirs_on=few))
    for name, given in (("float32", (state, params)), ("float64", doubled)):
        after = hard.step(*given)
        left = float(divergence(after).abs().max() / after.abs().max())
        notes.append(f"largest divergence after a step, relative to velocity per cell, {name}: {left:.2g}")
    settings = {
        "cells": "64 x 32",
        "states": states,
        "threads": 1,
        "dtype": "float32",
        "pressure tolerance": _TOLERANCE,
    }
    return Report(rows, settings, missing=missing, notes=notes)


def _states(flow: WakeFlow, count: int, options: Options) -> tuple[Tensor, Tensor]:
    params = torch.logspace(5, 6, count, device=options.device)[:, None]
    poke = torch.linspace(0.5, 1.5, count, device=options.device)
    state = flow.initial_state(count, poke=poke, device=options.device)
    return rollout(flow, state, params, 20)[-1], params


def _row(
    label: str,
    theirs: Simulator,
    ours: Simulator,
    state: Tensor,
    params: Tensor,
    repeats: int,
    goal: float | None,
    options: Options,
    theirs_on: tuple[Tensor, Tensor] | None = None,
) -> Row:
    """Return milliseconds a state of both sides; what a simulator traces is traced before the clock starts."""
    other = (state, params) if theirs_on is None else theirs_on
    baseline: Callable[[], Tensor] = functools.partial(theirs.step, *other)
    for _ in range(1 if options.quick else 3):
        baseline()
    times = alternate(baseline, functools.partial(ours.step, state, params), options.repeats(repeats), options.device)
    theirs_ms = [1e3 * seconds / len(other[0]) for seconds in times[0]]
    ours_ms = [1e3 * seconds / len(state) for seconds in times[1]]
    return Row(label, theirs_ms, ours_ms, "ms a state", "at least", goal)
