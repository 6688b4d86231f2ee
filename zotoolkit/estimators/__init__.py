"""Gradient estimators: queries around a point in, a gradient out."""

from zotoolkit.estimators.base import Estimate, Estimator
from zotoolkit.estimators.cge import CGE
from zotoolkit.estimators.rge import RGE
from zotoolkit.estimators.smoothing import FittingMu, PowerDecay, rounding_mu

__all__ = ["CGE", "RGE", "Estimate", "Estimator", "FittingMu", "PowerDecay", "rounding_mu"]
