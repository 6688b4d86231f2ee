"""Networks to train: residual networks for CIFAR, DeepZero's adjustable CNN, a perceptron, a small transformer."""

from problems.dnn.networks.activations import ACTIVATIONS
from problems.dnn.networks.cnn import deepzero_cnn
from problems.dnn.networks.mlp import mlp
from problems.dnn.networks.resnet import CifarResNet, OptionAShortcut
from problems.dnn.networks.two_convolutions import two_convolutions
from problems.dnn.networks.vit import VisionTransformer

__all__ = [
    "ACTIVATIONS",
    "CifarResNet",
    "OptionAShortcut",
    "VisionTransformer",
    "deepzero_cnn",
    "mlp",
    "two_convolutions",
]
