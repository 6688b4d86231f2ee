"""Certified robustness by randomised smoothing: certify, bounds and radii, curves and reports."""

from zotoolkit.certification.bounds import (
    binomial_interval,
    lower_bound,
    max_radius,
    n_required,
    radius_of,
    upper_bound,
)
from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.classifiers import as_predict
from zotoolkit.certification.counts import ImageCounts
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.certification.smoothing import certify, merge
from zotoolkit.certification.store import load_certification

__all__ = [
    "Certification",
    "ImageCounts",
    "SmoothingSettings",
    "as_predict",
    "binomial_interval",
    "certify",
    "load_certification",
    "lower_bound",
    "max_radius",
    "merge",
    "n_required",
    "radius_of",
    "upper_bound",
]
