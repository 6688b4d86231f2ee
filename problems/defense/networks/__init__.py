"""Networks in front of a classifier: denoisers, and auto-encoders whose latent is short enough to be queried."""

from problems.defense.networks.autoencoder import AutoEncoder, Decoder, Encoder
from problems.defense.networks.dncnn import DnCNN

__all__ = ["AutoEncoder", "Decoder", "DnCNN", "Encoder"]
