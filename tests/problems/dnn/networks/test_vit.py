from __future__ import annotations

import pytest
import torch
from torch import fx
from torch.func import functional_call, vmap
from torch.nn import functional

from problems.dnn.networks import VisionTransformer
from problems.dnn.networks.vit import SelfAttention
from zotoolkit.errors import InvalidSetting


def test_attention_is_torchs_own() -> None:
    layer = SelfAttention(12, 3).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = (part.view(2, 5, 3, 4).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
    fused = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 5, 12)
    torch.testing.assert_close(layer(x), layer.out(fused))


def test_it_can_be_traced_and_batched() -> None:
    network = VisionTransformer(size=8, patch=2, in_channels=1, classes=7, width=8, depth=2, heads=2, hidden=5)
    x = torch.randn(3, 1, 8, 8)
    plain = network(x)
    assert plain.shape == (3, 7)
    torch.testing.assert_close(fx.symbolic_trace(network)(x), plain)
    stacked = {name: torch.stack((p, 2 * p)).detach() for name, p in network.named_parameters()}
    both = vmap(lambda parameters: functional_call(network, parameters, (x,)))(stacked)  # no warning of a slow loop
    torch.testing.assert_close(both[0], plain.detach())


def test_positions_matter() -> None:
    network = VisionTransformer(size=8, patch=4, in_channels=1, width=8, depth=1, heads=2)
    x = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(network(x), network(x.flip(3)), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch": 5}, "patch must divide the image's 32 pixels, got 5"),
        ({"heads": 5}, "heads must divide width=48, got 5"),
        ({"depth": 0}, "depth must be an integer of at least 1, got 0"),
        ({"hidden": 0}, "hidden must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings_are_said(settings: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        VisionTransformer(**settings)
