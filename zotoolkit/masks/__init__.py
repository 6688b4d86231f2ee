"""Masks: which coordinates are alive."""

from zotoolkit.masks.base import Mask
from zotoolkit.masks.fixed import FixedMask
from zotoolkit.masks.uniform import UniformMask

__all__ = ["FixedMask", "Mask", "UniformMask"]
