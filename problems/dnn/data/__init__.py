"""Data to train on: in memory, from files of known layouts, from your tensors or a torch data set."""

from problems.dnn.data.augment import Augment, CropFlip
from problems.dnn.data.cifar import cifar10, cifar100
from problems.dnn.data.image_sets import IMAGE_SETS, ImageSet
from problems.dnn.data.mnist import fashion_mnist, mnist
from problems.dnn.data.sklearn_digits import digits
from problems.dnn.data.supervised import SupervisedData

__all__ = [
    "IMAGE_SETS",
    "Augment",
    "CropFlip",
    "ImageSet",
    "SupervisedData",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "mnist",
]
