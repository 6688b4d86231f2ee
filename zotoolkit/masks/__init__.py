"""Masks: which coordinates are alive, and the scores and ratios that sparse methods choose them by."""

from zotoolkit.masks.base import Mask
from zotoolkit.masks.fixed import FixedMask
from zotoolkit.masks.layerwise import LayerwiseRandomMask
from zotoolkit.masks.magnitude import MagnitudeMask
from zotoolkit.masks.ratios import score_ratios, uniform_ratios
from zotoolkit.masks.scores import grasp_scores, magnitude_scores
from zotoolkit.masks.uniform import UniformMask

__all__ = [
    "FixedMask",
    "LayerwiseRandomMask",
    "MagnitudeMask",
    "Mask",
    "UniformMask",
    "grasp_scores",
    "magnitude_scores",
    "score_ratios",
    "uniform_ratios",
]
