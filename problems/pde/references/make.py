"""Reference data from a fine simulator: run once, coarsened frame by frame, kept on disk.

Only coarse frames are held: a fine trajectory of the wake flow would be 16 times as large.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from problems.pde.progress import Progress, shown
from problems.pde.references.trajectories import LAYOUTS, SPLITS, Layout, References, Trajectories
from problems.pde.simulators.base import Simulator
from zotoolkit.artifacts import fingerprint, kept
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief

Start = tuple[Tensor, "Tensor | None"]
"""States `(N, *F)` on the fine grid to start from and their `(N, k)` parameters; None where there are none."""

_PART = "pde"
_VERSION = 1  # of the loop below: another one leaves former data in the cache alone
_LOOK_EVERY = 20  # steps of the spin-up after which it is seen whether the states are still finite


def make_references(
    fine: Simulator,
    train: Start,
    validation: Start,
    test: Start,
    *,
    frames: int,
    dt: float,
    coarsen: Callable[[Tensor], Tensor] | None = None,
    spin_up: int = 0,
    every: int = 1,
    dtype: torch.dtype = torch.float32,
    layout: Layout = "points",
    name: str = "references",
    key: Mapping[str, Any] | None = None,
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Run a fine simulator from start states, all splits at once, and keep what a coarse grid sees of it.

    The states run in the dtype and on the device of the start states. What was made under a key is read back from the
    cache, `zotoolkit.cache_folder("pde")`: start states, parameters and the settings below are part of it by
    themselves, the simulator and `coarsen` only as far as `key` says. A making that is interrupted leaves nothing
    there; a full disk or a folder that cannot be written to costs one line in the log, and the data are returned all
    the same.

    Args:
        fine: What advances the states.
        train: States to start from and their parameters.
        validation: Likewise.
        test: Likewise.
        frames: Coarse states a trajectory, at least 2; the first is what the spin-up ends in.
        dt: Time between frames.
        coarsen: From `(N, *F)` fine to `(N, *C)` coarse states, such as `lambda s: downsample(s, 48)`; None where the
            grids are the same.
        spin_up: Fine steps before the first frame, until what start states have of their own is forgotten.
        every: Fine steps between frames.
        dtype: Of the data that are returned.
        layout: See `References`.
        name: Of the data, for the progress bar and the folder in the cache.
        key: All that decides what simulator and `coarsen` do: numbers, texts, lists and dicts of them. Change it when
            their code changes. None keeps nothing.
        cache: Whether the data may come from the cache and are kept there.
        progress: Called with the fine steps done and their number; False for none. By default a bar on standard error
            appears where it takes longer than two seconds.

    Returns:
        On the CPU; the settings hold the key and what else decided them.

    Raises:
        InvalidSetting: If a setting is out of range or a split is empty.
        InvalidState: If start states do not fit the simulator, `coarsen` returns something else, or a state blew up.

    Examples:
        >>> from problems.pde.simulators import KuramotoSivashinsky, downsample
        >>> fine = KuramotoSivashinsky().finer()
        >>> starts = [(fine.start(n, seed=seed), None) for n, seed in ((4, 0), (2, 1), (2, 2))]
        >>> make_references(fine, *starts, frames=3, dt=0.5, coarsen=lambda states: downsample(states, 48))
        <References: states (48,), dt 0.5; trajectories x frames: train 4 x 3, validation 2 x 3, test 2 x 3>
    """
    frames, every = check_count(frames, "frames", 2), check_count(every, "every")
    spin_up, dt = check_count(spin_up, "spin_up", 0), check_positive(dt, "dt")
    check_choice(layout, LAYOUTS, "layout")
    if dtype not in (torch.float32, torch.float64):
        raise InvalidSetting(f"dtype must be torch.float32 or torch.float64, got {brief(dtype)}.")
    starts = dict(zip(SPLITS, (_check_start(fine, *pair) for pair in _pairs(train, validation, test)), strict=True))
    state = torch.cat([states for states, _ in starts.values()])
    params = torch.cat([values for _, values in starts.values()])
    key_json = None if key is None else _plain(key)
    settings: dict[str, Any] = {"frames": frames, "dt": dt, "spin_up": spin_up, "every": every}
    settings["params"] = {split: values.tolist() for split, (_, values) in starts.items()}

    def make() -> dict[str, Any]:
        with shown(progress, spin_up + (frames - 1) * every, name) as tell:
            runner = _Runner(fine, params, list(starts), [len(values) for _, values in starts.values()], tell)
            return {"states": runner.frames(state, frames, spin_up, every, coarsen or (lambda fine: fine), dtype)}

    full = {
        **settings,
        "key": key_json,
        "version": _VERSION,
        "fine": [type(fine).__name__, list(fine.fields)],
        "starts": fingerprint({"state": state, "params": params}),
        "dtype": [str(state.dtype), str(dtype)],
        "device": state.device.type,
    }
    made, _ = kept(_PART, name, full if cache and key is not None else None, make)
    splits: list[Trajectories] = []
    sizes = [len(values) for _, values in starts.values()]
    for states, values in zip(made["states"].split(sizes), params.to("cpu", dtype).split(sizes), strict=True):
        splits.append(Trajectories(states, values))
    return References(*splits, dt=dt, settings={**(key_json or {}), **settings}, layout=layout)


class _Runner:
    """Advances all trajectories and says which one blew up."""

    def __init__(
        self, fine: Simulator, params: Tensor, splits: list[str], sizes: list[int], tell: Callable[[int], None]
    ) -> None:
        self._fine, self._params, self._tell = fine, params, tell
        self._names = [f"{split}[{row}]" for split, size in zip(splits, sizes, strict=True) for row in range(size)]
        self._done = 0

    def frames(
        self,
        state: Tensor,
        count: int,
        spin_up: int,
        every: int,
        coarsen: Callable[[Tensor], Tensor],
        dtype: torch.dtype,
    ) -> Tensor:
        """Return `(N, count, *C)` coarse frames."""
        self._coarse(coarsen, state[:1])  # what does not fit is said before the run
        for left in range(spin_up, 0, -_LOOK_EVERY):
            state = self._advance(state, min(left, _LOOK_EVERY))
        first = self._coarse(coarsen, state)
        kept_frames = torch.empty(len(first), count, *first.shape[1:], dtype=dtype)
        kept_frames[:, 0] = first
        for number in range(1, count):
            state = self._advance(state, every)
            kept_frames[:, number] = self._coarse(coarsen, state)
        return kept_frames

    def _advance(self, state: Tensor, steps: int) -> Tensor:
        with torch.no_grad():
            for _ in range(steps):
                state = self._fine.step(state, self._params)
                self._done += 1
                self._tell(self._done)
        if not math.isfinite(state.sum()):
            finite = torch.isfinite(state).flatten(1).all(1)
            self._blown_up(finite)
        return state

    def _blown_up(self, finite: Tensor) -> None:
        rows = (~finite).nonzero().flatten().tolist()
        if not rows:
            return
        names = self._fine.parameters
        told = [
            self._names[row] + "".join(f", {n}={v:g}" for n, v in zip(names, self._params[row].tolist(), strict=True))
            for row in rows[:4]
        ]
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        raise InvalidState(
            f"the fine run blew up within {self._done} steps: {'; '.join(told)}{more}. Take a smaller time step, other "
            "parameters or another grid."
        )

    def _coarse(self, coarsen: Callable[[Tensor], Tensor], state: Tensor) -> Tensor:
        with torch.no_grad():
            coarse = coarsen(state)
        if not isinstance(coarse, Tensor) or not coarse.is_floating_point() or coarse.ndim < 2:
            raise InvalidState(f"coarsen must return ({len(state)}, *F) floating-point states, got {brief(coarse)}.")
        if len(coarse) != len(state):
            raise InvalidState(f"coarsen must return {len(state)} states, one for each, got {brief(coarse)}.")
        return coarse


def _pairs(*starts: object) -> list[tuple[object, object]]:
    found: list[tuple[object, object]] = []
    for split, start in zip(SPLITS, starts, strict=True):
        if not isinstance(start, tuple) or len(start) != 2:
            raise InvalidSetting(f"{split} must be a pair of states and params (or None), got {brief(start)}.")
        found.append(start)
    return found


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key as JSON gives it back."""
    try:
        return json.loads(json.dumps(dict(key), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidSetting(
            f"key must hold finite numbers, texts, lists and dicts of them ({error}), got {brief(key)}."
        ) from error


def _check_start(fine: Simulator, states: object, params: object) -> tuple[Tensor, Tensor]:
    if not isinstance(fine, Simulator):
        raise InvalidSetting(f"fine must be a Simulator, got {brief(fine)}; from_step makes one of a function.")
    params = fine.check_inputs(states, params)
    if not isinstance(states, Tensor) or not len(states):
        raise InvalidSetting("each of train, validation and test needs a start state; one of them is empty.")
    if not bool(torch.isfinite(states).all()) or not bool(torch.isfinite(params).all()):
        raise InvalidState("start states and their params must be finite.")
    fine.check_params(params)
    return states, params
