from __future__ import annotations

import pytest
import torch
from torch import nn

from problems.defense import Defense, Front
from tests.problems.defense import small
from zotoolkit.errors import InvalidSetting


def test_images_go_all_the_way() -> None:
    x = small.images().test
    defense = small.built(0)
    with torch.no_grad():
        inner = defense.front(x)
        assert inner.shape == (9, small.LATENT)
        assert torch.equal(defense(x), defense.image(inner))
        assert defense(x).shape == x.shape
        alone = small.built(0, latent=False)
        assert torch.equal(alone(x), alone.front.denoiser(x))
        assert alone.image(x) is x


def test_the_decoder_is_frozen_and_the_front_is_not() -> None:
    defense = small.built(0)
    assert defense.decoder is not None
    assert not defense.decoder.training
    assert not any(parameter.requires_grad for parameter in defense.decoder.parameters())
    assert all(parameter.requires_grad for parameter in defense.front.parameters())


@pytest.mark.parametrize(("encoder", "decoder"), [(None, nn.Identity()), (nn.Identity(), None)])
def test_encoder_and_decoder_come_together(encoder: nn.Module | None, decoder: nn.Module | None) -> None:
    with pytest.raises(InvalidSetting, match="come together"):
        Defense(Front(nn.Identity(), encoder), decoder)
