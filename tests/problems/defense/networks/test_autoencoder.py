from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from problems.defense.networks import AutoEncoder, Decoder, Encoder
from zotoolkit.errors import InvalidSetting


def test_the_published_counts() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Encoder().parameters()) == 159_336
        assert sum(p.numel() for p in Decoder().parameters()) == 159_147


@settings(max_examples=25)
@given(size=st.integers(1, 16), channels=st.integers(1, 3), latent=st.integers(1, 20), width=st.integers(1, 5))
def test_images_go_to_latents_and_back_to_their_own_shape(size: int, channels: int, latent: int, width: int) -> None:
    network = AutoEncoder.of(4 * size, channels, latent, width)
    images = torch.rand(2, channels, 4 * size, 4 * size)
    latents = network.encoder(images)
    assert latents.shape == (2, latent)
    back = network(images).detach()
    assert back.shape == images.shape
    assert float(back.min()) >= 0
    assert float(back.max()) <= 1
    torch.testing.assert_close(network.decoder(latents).detach(), back)


def test_latents_lie_on_both_sides_of_zero() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        latents = Encoder(8, 1, 16, 8)(torch.rand(200, 1, 8, 8))
    assert 0.1 < float((latents > 0).float().mean()) < 0.9


def test_it_learns_to_reconstruct() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoEncoder.of(8, 1, 8, 6)
        patterns = nn.functional.interpolate(torch.rand(64, 1, 2, 2), size=8, mode="bilinear")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(100):
            loss = functional.mse_loss(network(patterns), patterns)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < 0.2 * float(patterns.var())


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"size": 30}, "size must be a multiple of 4 pixels, got 30; pad the images"),
        ({"size": 0}, "size must be an integer of at least 1, got 0"),
        ({"channels": 0}, "channels must be an integer of at least 1, got 0"),
        ({"latent": -1}, "latent must be an integer of at least 1, got -1"),
        ({"width": 2.5}, "width must be an integer of at least 1, got 2.5"),
    ],
)
def test_bad_settings_are_said(kind: Any, sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        kind(**sizes)


def test_parts_that_do_not_fit_are_said() -> None:
    with pytest.raises(InvalidSetting, match="the same latent, got 16 and 8"):
        AutoEncoder(Encoder(8, 1, 16, 4), Decoder(8, 1, 8, 4))
    with pytest.raises(InvalidSetting, match="the same size, got 8 and 12"):
        AutoEncoder(Encoder(8, 1, 16, 4), Decoder(12, 1, 16, 4))
    with pytest.raises(InvalidSetting, match="takes an Encoder in its place, got"):
        AutoEncoder(Decoder(8, 1, 16, 4), Decoder(8, 1, 16, 4))  # pyright: ignore[reportArgumentType]
