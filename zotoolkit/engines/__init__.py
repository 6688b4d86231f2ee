"""Engines: how a torch network answers many parameter vectors fast."""

from zotoolkit.engines.base import Engine, Inputs, Loss
from zotoolkit.engines.dense import DenseEngine
from zotoolkit.engines.layout import Kind, ParameterLayout, ParameterSlot
from zotoolkit.engines.loop import LoopEngine
from zotoolkit.engines.replay import ReplayEngine
from zotoolkit.engines.vmap import VmapEngine

__all__ = [
    "DenseEngine",
    "Engine",
    "Inputs",
    "Kind",
    "LoopEngine",
    "Loss",
    "ParameterLayout",
    "ParameterSlot",
    "ReplayEngine",
    "VmapEngine",
]
