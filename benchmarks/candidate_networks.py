"""Many candidates' corrector networks, each on states of its own, against torch.func.vmap; one core.

In a solver in the loop every candidate's network sees other states from the second step on. The baseline is what one
writes for that: `torch.func.vmap` of `torch.func.functional_call` over `(P, d)` points and `(P, W, *I)` states, so many
candidates at a time as suits it best (`_CHUNK`). Ours is `CandidateNetwork`, asked with coordinate batches (CGE: one
weight differs) and seeded ones (RGE: all differ), by its compiled stack and, in rows of their own, by torch alone. The
answers of both sides are compared before the clock starts.

Judged are the 278-parameter network at 64 x 32 cells, all coordinates, two windows: against vmap, and against a step of
the wake flow on the same number of states, which it should not outlast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor, nn
from torch.func import functional_call, vmap

from problems.pde.candidates import CandidateNetwork
from problems.pde.correctors import MarsMoon, MediumConvolutions, PeriodicConvolutions, SmallConvolutions
from problems.pde.simulators.wake import WakeFlow
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import torch_generator

GOAL = 4.0
GOAL_OF_STEP = 1.0
_CHUNK = 32


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    grid = (3, 64, 32)
    small, medium, line, mars = _networks(options.device)
    rows = [
        _row("278, coordinates", small, 278, 2, grid, options, goal=GOAL),
        _row("278, coordinates, torch alone", small, 278, 2, grid, options, compiled=False),
        _row("278, seeded", small, 278, 2, grid, options, seeded=True),
        _row("278, seeded, torch alone", small, 278, 2, grid, options, seeded=True, compiled=False),
        _row("89 on a line, coordinates", line, 89, 16, (48,), options, repeats=21),
        _row("89 on a line, seeded", line, 89, 16, (48,), options, repeats=21, seeded=True),
        _row("8,434, coordinates", medium, 48, 2, grid, options, repeats=5),
        _row("8,434, coordinates, torch alone", medium, 48, 2, grid, options, repeats=5, compiled=False),
        _row("8,434, seeded", medium, 48, 2, grid, options, repeats=5, seeded=True),
    ]
    if not options.quick:
        rows.append(_row("260,354, coordinates", mars, 8, 2, grid, options, repeats=3))
        rows.append(_row("260,354, seeded", mars, 8, 2, grid, options, repeats=3, seeded=True))
    rows.append(_against_step(small, options))
    settings = {
        "cells": "64 x 32",
        "dtype": "float32",
        "threads": 1,
        "candidates, states each": "278, 2 (278 parameters); 89, 16 (89); 48, 2 (8,434); 8, 2 (260,354)",
        "candidates that vmap takes at a time": _CHUNK,
    }
    return Report(rows, settings, several=True)


def _networks(device: str) -> tuple[nn.Module, ...]:
    made: list[nn.Module] = []
    with seeded_randomness(0, torch.device("cpu")):
        made = [SmallConvolutions(), MediumConvolutions(), PeriodicConvolutions(), MarsMoon()]
    return tuple(network.to(device) for network in made)


def _row(
    label: str,
    module: nn.Module,
    count: int,
    width: int,
    shape: tuple[int, ...],
    options: Options,
    *,
    repeats: int = 11,
    seeded: bool = False,
    compiled: bool = True,
    goal: float | None = None,
) -> Row:
    count = min(count, 20) if options.quick else count
    network = CandidateNetwork(module, compiled=compiled)
    batch = _batch(network, module, count, seeded)
    inputs = torch.randn((count, width, *shape), generator=torch_generator(1)).to(options.device)
    candidates, theirs = network.of(batch), _by_vmap(network, module, batch, inputs)

    def ours() -> Tensor:
        return candidates(inputs)

    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)
    times = alternate(theirs, ours, options.repeats(repeats), options.device)
    baseline, mine = ([1e6 * seconds / (count * width) for seconds in side] for side in times)
    return Row(label, baseline, mine, "us a state", "at least", goal)


def _batch(network: CandidateNetwork, module: nn.Module, count: int, seeded: bool) -> QueryBatch:
    base = network.layout.flatten(module)
    scale = torch.full_like(base[:1], 1e-2).expand(count).contiguous()
    if seeded:
        return SeededBatch(base=base, scale=scale, seed=torch.arange(count, device=base.device))
    index = torch.linspace(0, network.layout.dim - 1, count).long().to(base.device)
    return CoordinateBatch(base=base, scale=scale, index=index)


def _by_vmap(network: CandidateNetwork, module: nn.Module, batch: QueryBatch, inputs: Tensor) -> Callable[[], Tensor]:
    plain, points = copy.deepcopy(module), batch.points()

    def one(weights: dict[str, Tensor], states: Tensor) -> Tensor:
        return functional_call(plain, weights, (states,))

    every = vmap(one)

    def call() -> Tensor:
        with torch.no_grad():
            parts = zip(points.split(_CHUNK), inputs.split(_CHUNK), strict=True)
            return torch.cat([every(network.layout.unflatten(part), states) for part, states in parts])

    return call


def _against_step(module: nn.Module, options: Options) -> Row:
    """Return what the network takes against a step of the simulator, on as many states."""
    network, flow = CandidateNetwork(module), WakeFlow(32)
    count = 20 if options.quick else 278
    batch = _batch(network, module, count, seeded=False)
    state = flow.initial_state(2 * count, poke=torch.linspace(0.5, 1.5, 2 * count), device=options.device)
    params = torch.logspace(5, 6, 2 * count, device=options.device)[:, None]
    inputs = torch.randn((count, 2, 3, 64, 32), generator=torch_generator(1)).to(options.device)
    candidates = network.of(batch)
    times = alternate(lambda: flow.step(state, params), lambda: candidates(inputs), options.repeats(11), options.device)
    step, mine = ([1e6 * seconds / (2 * count) for seconds in side] for side in times)
    return Row("278, coordinates, against a wake step", step, mine, "us a state", "at most", GOAL_OF_STEP)
