"""What objectives tell about layers and epochs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import zotoolkit
from zotoolkit.engines import Kind, ParameterLayout
from zotoolkit.errors import InvalidSetting
from zotoolkit.structure import Structure, one_layer

LAYOUT = ParameterLayout.of(nn.Linear(2, 1, bias=False))


def told(layout: Any = None, epoch: Any = None, dim: int = 2) -> Structure:
    objective: Any = zotoolkit.from_callable(lambda x: float((x**2).sum()), dim=dim)
    if layout is not None:
        objective.layout = layout
    if epoch is not None:
        objective.metadata["batches_per_epoch"] = epoch
    return Structure.of(zotoolkit.Retry(zotoolkit.Noise(objective, std=0.1)))


def test_layers_and_epochs_come_through_wrappers() -> None:
    assert told(LAYOUT, 7) == Structure(LAYOUT, 7)
    assert told() == Structure(None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "conv"}, r"objective.layout must be a ParameterLayout, got 'conv'"),
        ({"layout": LAYOUT, "dim": 3}, "must have the objective's 3 coordinates, got 2; does a wrapper"),
        ({"epoch": 0}, r"metadata\['batches_per_epoch'\] must be an integer of at least 1, got 0"),
        ({"epoch": 2.0}, r"got 2.0 \(float\)"),
    ],
)
def test_what_is_told_wrongly(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        told(**settings)


def test_a_layout_that_is_needed() -> None:
    assert Structure(LAYOUT).needed_layout(2, "it") is LAYOUT
    with pytest.raises(InvalidSetting, match="it needs an objective with an attribute `layout`"):
        Structure().needed_layout(2, "it")
    with pytest.raises(InvalidSetting, match="the layout is of 2 coordinates, but there are 5"):
        Structure(LAYOUT).needed_layout(5, "it")


def test_one_layer_holds_everything() -> None:
    layout = one_layer(4)
    assert layout.coordinates(Kind.LINEAR_WEIGHT).tolist() == [0, 1, 2, 3]
    assert torch.equal(layout.unflatten(torch.arange(4.0))["x"], torch.arange(4.0))
