"""What stands in front of a fixed classifier: a denoiser, and with it, if wanted, an encoder and a frozen decoder.

    images + noise -> denoiser -> [encoder -> z -> decoder ->] classifier

Trained are the denoiser and the encoder; the decoder stays as it was pre-trained and counts as a part of the black box.
"""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief


class Front(nn.Module):
    """The trained part: from noisy images to images, or to latents where there is an encoder.

    Args:
        denoiser: Images to images.
        encoder: Images to `(n, d_z)` latents; None for none.
    """

    def __init__(self, denoiser: nn.Module, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.encoder = encoder

    @override
    def forward(self, x: Tensor) -> Tensor:
        x = self.denoiser(x)
        return x if self.encoder is None else self.encoder(x)


class Defense(nn.Module):
    """The whole way of an image to the classifier.

    Args:
        front: The trained part.
        decoder: Latents to images, frozen; None where front has no encoder.

    Raises:
        InvalidSetting: If there is an encoder without a decoder, or a decoder without an encoder.
    """

    def __init__(self, front: Front, decoder: nn.Module | None = None) -> None:
        super().__init__()
        if (front.encoder is None) != (decoder is None):
            raise InvalidSetting(f"encoder and decoder come together, got {brief(front.encoder)} and {brief(decoder)}.")
        self.front = front
        self.decoder = None if decoder is None else decoder.eval().requires_grad_(False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.image(self.front(x))

    def image(self, inner: Tensor) -> Tensor:
        """Return the images that the classifier sees, from what the front hands on."""
        return inner if self.decoder is None else self.decoder(inner)
