"""Rules: how single operations of a network pass on what candidates change."""

from zotoolkit.engines.rules.base import Memory, Rule, Weights
from zotoolkit.engines.rules.generic import Generic
from zotoolkit.engines.rules.linear import Convolution, Linear
from zotoolkit.engines.rules.norm import BatchNorm, LayerNorm
from zotoolkit.engines.rules.pointwise import Identity, Pointwise, Product, Relu, Scaling, Sum
from zotoolkit.engines.rules.shaping import ChannelPad, Folded, Item, MaxPool, Moving, PositionMean

__all__ = [
    "BatchNorm",
    "ChannelPad",
    "Convolution",
    "Folded",
    "Generic",
    "Identity",
    "Item",
    "LayerNorm",
    "Linear",
    "MaxPool",
    "Memory",
    "Moving",
    "Pointwise",
    "PositionMean",
    "Product",
    "Relu",
    "Rule",
    "Scaling",
    "Sum",
    "Weights",
]
