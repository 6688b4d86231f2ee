"""Networks on data sets, as registered objectives."""

from problems.dnn.tasks.cnn import train_cnn
from problems.dnn.tasks.digits import digits_cnn, digits_mlp
from problems.dnn.tasks.mlp import train_mlp
from problems.dnn.tasks.resnet import train_resnet
from problems.dnn.tasks.vit import train_vit

__all__ = ["digits_cnn", "digits_mlp", "train_cnn", "train_mlp", "train_resnet", "train_vit"]
