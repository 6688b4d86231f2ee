"""A small vision transformer.

Patches are embedded by a strided convolution, a learnt position is added to each, and pre-norm blocks of self-attention
and perceptron follow; the mean over the patches goes into a linear layer. Source: Dosovitskiy et al., An Image is Worth
16x16 Words, ICLR 2021; mean pooling instead of a class token as in Beyer et al., arXiv 2205.01580.

Attention is spelt out: on a CPU vmap has no batching rule for torch's fused kernel and falls back to a loop (2.13).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting


class SelfAttention(nn.Module):
    """Softmax attention of `(n, t, width)` tokens to each other, in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    @override
    def forward(self, x: Tensor) -> Tensor:
        # No size is read off x, so that tracing need not know it.
        parts = self.qkv(x).unflatten(-1, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0] * self.size**-0.5, parts[1], parts[2]
        weights = torch.softmax(query @ key.transpose(-2, -1), -1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added to them."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    @override
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """A transformer from `(n, in_channels, size, size)` images to `(n, classes)` scores.

    Args:
        size: Height and width of the images.
        patch: Height and width of a patch; must divide size.
        in_channels: Of the images.
        classes: Scores that come out.
        width: Numbers a token.
        depth: Blocks.
        heads: Of the attention; must divide width.
        hidden: Units of the perceptrons; None for twice the width.

    Raises:
        InvalidSetting: If a setting is below 1, or one does not divide the other.

    Examples:
        >>> sum(p.numel() for p in VisionTransformer().parameters())
        81850
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 4,
        in_channels: int = 3,
        classes: int = 10,
        width: int = 48,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = 2 * check_count(width, "width") if hidden is None else check_count(hidden, "hidden")
        settings = {"size": size, "patch": patch, "in_channels": in_channels, "classes": classes, "depth": depth}
        for name, value in {**settings, "heads": heads}.items():
            check_count(value, name)
        if size % patch:
            raise InvalidSetting(f"patch must divide the image's {size} pixels, got {patch}.")
        if width % heads:
            raise InvalidSetting(f"heads must divide width={width}, got {heads}.")
        self.embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(1, (size // patch) ** 2, width))
        nn.init.normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    @override
    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))
