"""Training deep networks with queries only: zotoolkit.make("DNN/DigitsMLP-v0"), or `TrainNetwork` with your own."""

from problems.dnn.data import CropFlip, SupervisedData, cifar10, cifar100, digits, fashion_mnist, mnist
from problems.dnn.networks import CifarResNet, VisionTransformer, deepzero_cnn, mlp
from problems.dnn.tasks import digits_cnn, digits_mlp, train_cnn, train_mlp, train_resnet, train_vit
from problems.dnn.train_network import TrainNetwork

__all__ = [
    "CifarResNet",
    "CropFlip",
    "SupervisedData",
    "TrainNetwork",
    "VisionTransformer",
    "cifar10",
    "cifar100",
    "deepzero_cnn",
    "digits",
    "digits_cnn",
    "digits_mlp",
    "fashion_mnist",
    "mlp",
    "mnist",
    "train_cnn",
    "train_mlp",
    "train_resnet",
    "train_vit",
]
