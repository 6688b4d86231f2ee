"""Training deep networks with queries only: zotoolkit.make("DNN/DigitsMLP-v0"), or `TrainNetwork` with your own."""

from problems.dnn.data import SupervisedData, digits
from problems.dnn.networks import digits_cnn, digits_mlp
from problems.dnn.train_network import TrainNetwork

__all__ = ["SupervisedData", "TrainNetwork", "digits", "digits_cnn", "digits_mlp"]
