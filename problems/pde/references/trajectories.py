"""Reference data of a corrector: fine trajectories on the coarse grid, in three splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import Self

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.wake.staggered import face_mask
from zotoolkit.checks import check_choice, check_positive
from zotoolkit.errors import InvalidState, ReferencesMismatch, brief

Layout = Literal["points", "staggered", "timed", "marked"]
"""What the entries of a state are.

"points": each is a value. "staggered": velocities at the faces of a staggered grid. "timed": the last field is the
time, as in `ForcedBurgers`. "marked": staggered velocities and a marker in the cells, as in `SmokeFlow`.
"""
LAYOUTS = ("points", "staggered", "timed", "marked")

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Some trajectories, each with parameters of its own.

    Attributes:
        states: `(N, T + 1, *F)` finite float32 or float64: N trajectories of T + 1 frames, one time step of the coarse
            simulator apart.
        params: `(N, k)` of the same dtype and device.

    Raises:
        InvalidState: If there is no trajectory, one frame only, another shape or dtype, or a value that is not finite.

    Examples:
        >>> some = Trajectories(torch.rand(3, 11, 48), torch.rand(3, 1))
        >>> len(some), some.frames, some.fields
        (3, 11, (48,))
    """

    states: Tensor
    params: Tensor

    def __post_init__(self) -> None:
        states, params = self.states, self.params
        floating = isinstance(states, Tensor) and states.dtype in (torch.float32, torch.float64)
        if not floating or states.ndim < 3 or not states.numel() or states.shape[1] < 2:
            raise InvalidState(
                "states must be (N, T + 1, *F) of float32 or float64 with at least one trajectory of two frames, got "
                f"{brief(states)}."
            )
        if not isinstance(params, Tensor) or params.ndim != 2 or len(params) != len(states):
            raise InvalidState(f"params must be ({len(states)}, k), one row a trajectory, got {brief(params)}.")
        if params.dtype != states.dtype or params.device != states.device:
            raise InvalidState(
                f"params must be of the states' dtype {states.dtype} on their device {states.device}, got "
                f"{params.dtype} on {params.device}."
            )
        # A sum of finite numbers is seldom more than its dtype holds; then each of them is looked at.
        for name, values in (("states", states), ("params", params)):
            if not math.isfinite(values.sum()) and not bool(torch.isfinite(values).all()):
                wrong = (~torch.isfinite(values.flatten(1)).all(1)).nonzero().flatten().tolist()
                raise InvalidState(f"{name} must be finite; trajectories {wrong[:8]} are not. Leave these out.")

    @classmethod
    def of(cls, states: ArrayLike, params: ArrayLike | None = None) -> Self:
        """Return trajectories from NumPy arrays, lists or tensors; params may be None where there is none.

        Whole numbers become float32.

        Raises:
            InvalidState: As the constructor does, or if something is no array of numbers.

        Examples:
            >>> Trajectories.of(np.zeros((2, 5, 8))).states.dtype
            torch.float64
        """
        found = _tensor(states, "states")
        return cls(found, found.new_empty(len(found), 0) if params is None else _tensor(params, "params").to(found))

    def __len__(self) -> int:
        return len(self.states)

    @property
    def frames(self) -> int:
        """States in a trajectory, T + 1, its first among them."""
        return self.states.shape[1]

    @property
    def fields(self) -> tuple[int, ...]:
        """`*F`, the shape of one state."""
        return tuple(self.states.shape[2:])

    def to(self, target: torch.device | torch.dtype | str) -> Self:
        """Return them on another device or of another dtype."""
        return type(self)(self.states.to(target), self.params.to(target))


@dataclass(frozen=True, eq=False)
class References:
    """Trajectories to train on, to choose settings by, and to be judged by.

    Attributes:
        train: To train on.
        validation: To choose learning rates and the like by.
        test: For the figures that are reported.
        dt: Time between frames.
        settings: All that decided them, numbers, texts, lists and dicts; empty for a user's own. What
            `settings["physics"]` names is compared with the simulator's attributes of that name by `check`.
        layout: "staggered" for velocities as `problems.pde.simulators.wake` lays them out, `(2, rows + 1, columns + 1)`
            with places that are no faces; "marked" for these and a marker, as `SmokeFlow` does; "timed" for a time as
            the last field, as in `ForcedBurgers`; "points" for all else.

    Raises:
        InvalidState: If the splits do not fit each other, or their states not the layout.
        InvalidSetting: If dt is not positive or the layout unknown.

    Examples:
        >>> split = Trajectories(torch.rand(3, 11, 48), torch.tensor([[0.1], [0.2], [0.3]]))
        >>> references = References(split, split, split, dt=0.5)
        >>> round(float(references.params_scale), 4)
        0.0816
        >>> from problems.pde.simulators import KuramotoSivashinsky
        >>> references.check(KuramotoSivashinsky())
        Traceback (most recent call last):
        ...
        zotoolkit.errors.ReferencesMismatch: the reference data have 1 parameter, KuramotoSivashinsky takes none; give
        Trajectories the columns that it takes.
    """

    train: Trajectories
    validation: Trajectories
    test: Trajectories
    dt: float
    settings: dict[str, Any] = field(default_factory=dict)
    layout: Layout = "points"

    def __post_init__(self) -> None:
        check_positive(self.dt, "dt")
        check_choice(self.layout, LAYOUTS, "layout")
        first = self.train
        for name in SPLITS:
            split = getattr(self, name)
            if not isinstance(split, Trajectories):
                raise InvalidState(f"{name} must be Trajectories, got {brief(split)}; Trajectories.of makes some.")
            for what in ("fields", "columns", "dtype", "device"):
                given, wanted = _of(split, what), _of(first, what)
                if given != wanted:
                    raise InvalidState(f"all splits must have the same {what}: train has {wanted}, {name} {given}.")
        self.where  # noqa: B018

    @cached_property
    def scale(self) -> float:
        """Standard deviation of the training states, what a corrector's inputs and outputs are measured in.

        Of staggered velocities that of their absolute values, over the faces of both components, as in the code of Um
        et al. (NeurIPS 2020): the components' different means enter, the places that are no faces do not. Of a flow
        with a marker it is that of the velocities alone, and a time does not enter. 1 where all values are the same.
        """
        values, where = self.train.states, self.where
        if self.layout == "marked":
            values, where = values[:, :, :2], face_mask((2, *self.fields[1:]))
        if self.layout in ("staggered", "marked"):
            values = values.abs()
        if where is not None:
            values = values[..., where.to(values.device)]
        deviation = float(values.std(correction=0))
        return deviation if deviation > 0 else 1.0

    @cached_property
    def params_scale(self) -> Tensor:
        """`(k,)` standard deviation of each training parameter; 1 where there is one value only."""
        deviation = self.train.params.std(0, correction=0)
        return torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    @cached_property
    def where(self) -> Tensor | None:
        """`*F` bool on the data's device: the entries that errors are measured at; None for all."""
        mask = _counted(self.layout, self.fields)
        return None if mask is None else mask.to(self.train.states.device)

    @property
    def fields(self) -> tuple[int, ...]:
        """`*F`, the shape of one state."""
        return self.train.fields

    def check(self, simulator: Simulator) -> None:
        """See whether a coarse simulator takes these states and parameters and makes the same step.

        Its time step is compared where it has an attribute `dt`.

        Raises:
            ReferencesMismatch: If it does not.
        """
        name, columns = type(simulator).__name__, self.train.params.shape[1]
        if simulator.fields != self.fields:
            raise ReferencesMismatch(
                f"the reference data have states of shape {self.fields}, {name} takes {simulator.fields}; make "
                "reference data on its grid."
            )
        if len(simulator.parameters) != columns:
            count = f"{columns} parameter{'' if columns == 1 else 's'}" if columns else "no parameters"
            names = ", ".join(simulator.parameters)
            raise ReferencesMismatch(
                f"the reference data have {count}, {name} takes {names or 'none'}; give Trajectories the columns that "
                "it takes."
            )
        for what, value in {"dt": self.dt, **self.settings.get("physics", {})}.items():
            theirs = getattr(simulator, what, value)
            if not _equal(theirs, value):
                raise ReferencesMismatch(
                    f"the reference data are of {what}={value!r}, {name} has {what}={theirs!r}; make reference data of "
                    "its settings."
                )

    def to(self, target: torch.device | torch.dtype | str) -> Self:
        """Return them on another device or of another dtype."""
        return replace(self, **{name: getattr(self, name).to(target) for name in SPLITS})

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(getattr(self, name))} x {getattr(self, name).frames}" for name in SPLITS)
        return f"<References: states {self.fields}, dt {self.dt:g}; trajectories x frames: {counts}>"


def _counted(layout: Layout, fields: tuple[int, ...]) -> Tensor | None:
    """Return which entries of a state are values to be predicted.

    Raises:
        InvalidState: If states of such a shape do not have the layout.
    """
    if layout == "points":
        return None
    if layout == "staggered":
        return face_mask(fields)
    if len(fields) < 2 or fields[0] < 2:
        raise InvalidState(f"states with the layout {layout!r} have two fields or more, got the shape {fields}.")
    mask = torch.ones(fields, dtype=torch.bool)
    if layout == "timed":
        mask[-1] = False
        return mask
    if fields[0] != 3:
        raise InvalidState(f"states of velocities and a marker are (3, rows + 1, columns + 1), got {fields}.")
    mask[:2] = face_mask((2, *fields[1:]))
    mask[2, -1] = mask[2, :, -1] = False
    return mask


def _of(split: Trajectories, what: str) -> object:
    if what == "columns":
        return split.params.shape[1]
    return split.fields if what == "fields" else getattr(split.states, what)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def _tensor(values: object, name: str) -> Tensor:
    if not isinstance(values, (Tensor, np.ndarray, Sequence)):
        raise InvalidState(f"{name} must be an array or a tensor, got {brief(values)}.")
    try:
        found = torch.as_tensor(values if isinstance(values, Tensor) else np.array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidState(f"{name} must be an array of numbers ({error}), got {brief(values)}.") from error
    whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    return found.float() if whole else found
