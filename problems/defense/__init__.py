"""Certified defense of a classifier that can only be queried: zotoolkit.make("Defense/Digits-v0")."""

from problems.defense.composite import Defense, Front
from problems.defense.defend_classifier import DefendClassifier
from problems.defense.images import DefenseImages
from problems.defense.measuring import Measures
from problems.defense.tasks import defend_cifar10, defend_digits

__all__ = [
    "DefendClassifier",
    "Defense",
    "DefenseImages",
    "Front",
    "Measures",
    "defend_cifar10",
    "defend_digits",
]
