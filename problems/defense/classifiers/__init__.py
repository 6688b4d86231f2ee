"""Fixed classifiers, trained on clean images: what is defended, and may only be queried."""

from problems.defense.classifiers.convolutional import small_cnn
from problems.defense.classifiers.fixed import Facts, FixedClassifier, predicted_labels
from problems.defense.classifiers.resnet import Normalised, fixed_resnet, load_resnet
from problems.defense.classifiers.trees import gradient_boosting, random_forest

__all__ = [
    "Facts",
    "FixedClassifier",
    "Normalised",
    "fixed_resnet",
    "gradient_boosting",
    "load_resnet",
    "predicted_labels",
    "random_forest",
    "small_cnn",
]
