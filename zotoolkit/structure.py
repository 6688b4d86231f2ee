"""What an objective tells about itself besides losses: how its coordinates form layers, how long an epoch is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING

import torch

from zotoolkit.checks import check_positive
from zotoolkit.engines.layout import Kind, ParameterLayout, ParameterSlot
from zotoolkit.errors import InvalidSetting, brief

if TYPE_CHECKING:
    from zotoolkit.objective import BlackBoxObjective


_DIFFERENCES = ("forward", "central")


@dataclass(frozen=True)
class Structure:
    """What masks, estimators and schedules may know of an objective.

    Attributes:
        layout: Which coordinates form which parameter; None if the objective tells none.
        batches_per_epoch: How many contexts make an epoch; None if the objective has no epochs.
        smoothing: The mu that fits "forward" and "central" differences; empty if the objective says nothing.
    """

    layout: ParameterLayout | None = None
    batches_per_epoch: int | None = None
    smoothing: Mapping[str, float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, objective: BlackBoxObjective) -> Structure:
        """Read it off an objective: `layout`, an attribute under all wrappers, `metadata["batches_per_epoch"]`, and
        what a method `fitting_mu(difference)` under all wrappers returns, if there is one.

        Raises:
            InvalidSetting: If one of them is there, but is not what it should be.

        Examples:
            >>> import zotoolkit
            >>> Structure.of(zotoolkit.make("Functions/Sphere-v0", dim=2))
            Structure(layout=None, batches_per_epoch=None)
        """
        layout = getattr(objective.unwrapped, "layout", None)
        if layout is not None and not isinstance(layout, ParameterLayout):
            raise InvalidSetting(f"objective.layout must be a ParameterLayout, got {brief(layout)}.")
        if layout is not None and layout.dim != objective.dim:
            raise InvalidSetting(
                f"objective.layout must have the objective's {objective.dim} coordinates, got {layout.dim}; "
                "does a wrapper change the dimension?"
            )
        epoch = objective.metadata.get("batches_per_epoch")
        if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, Integral) or epoch < 1):
            raise InvalidSetting(f"metadata['batches_per_epoch'] must be an integer of at least 1, got {brief(epoch)}.")
        named = getattr(objective.unwrapped, "fitting_mu", None)
        fits = {} if named is None else {kind: check_positive(named(kind), "fitting_mu") for kind in _DIFFERENCES}
        return cls(layout, None if epoch is None else int(epoch), fits)

    def needed_layout(self, dim: int, what: str) -> ParameterLayout:
        """Return the layout.

        Args:
            dim: Number of coordinates that it must have.
            what: Who needs it, for the message.

        Raises:
            InvalidSetting: If there is none or it has another number of coordinates.
        """
        if self.layout is None:
            raise InvalidSetting(
                f"{what} needs an objective with an attribute `layout`, a zotoolkit.engines.ParameterLayout, as "
                "networks have; in a loop of your own, call solver.attach(objective) before reset."
            )
        return fitting(self.layout, dim)


def fitting(layout: ParameterLayout, dim: int) -> ParameterLayout:
    """Return the layout.

    Raises:
        InvalidSetting: If it has another number of coordinates.
    """
    if layout.dim != dim:
        raise InvalidSetting(f"the layout is of {layout.dim} coordinates, but there are {dim}.")
    return layout


def one_layer(dim: int) -> ParameterLayout:
    """Return the layout of an objective without layers: one linear weight that holds all coordinates.

    Examples:
        >>> one_layer(3).slots[0].shape
        (3,)
    """
    return ParameterLayout((ParameterSlot("x", (dim,), 0, torch.float32, Kind.LINEAR_WEIGHT),))
