"""Small networks that between them use every rule of the replay engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Case:
    """A network, what it takes, what it is to return, and the loss."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    target: Callable[[], Tensor]
    loss: Callable[[Any, Any], Tensor] = functional.cross_entropy


class Block(nn.Module):
    """A residual block with an option-A shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.spread = (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.spread:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.spread, self.spread))
        out += x
        return functional.relu(out, inplace=True)


class Residual(nn.Module):
    """A ResNet of four blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 8), Block(8, 8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Transformer(nn.Module):
    """One block of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 4, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.mix, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        batch, tokens, width = x.shape
        mixed = self.mix(self.norm1(x)).reshape(batch, tokens, 3, 2, 4).permute(2, 0, 3, 1, 4)
        query, key, value = mixed.unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


class Knot(nn.Module):
    """A tied weight, a parameter of the network's own, products, a chunk, a concatenation and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 10)
        self.two.weight = self.one.weight
        self.factor = nn.Parameter(torch.randn(6))
        self.register_buffer("shift", torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.one(x)) * 0.5 + 1
        hidden = self.two(hidden) * self.factor - hidden / 2
        left, right = hidden.chunk(2, -1)
        hidden = torch.cat([left * right, 2 - right], -1) + self.shift
        return self.head(torch.softmax(self.one(hidden), -1) @ self.two.weight)


class Odd(nn.Module):
    """Operations without a rule of their own, and a parameter that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.head = nn.Linear(6, 8), nn.Linear(4, 10)
        self.norm, self.slope = nn.GroupNorm(2, 8), nn.Parameter(torch.full((8,), 0.3))
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.one(x))
        hidden = torch.where(hidden > 0, hidden, self.slope * hidden)
        value, _ = hidden.view(x.size(0), 4, 2).max(-1)
        return self.head(torch.cumsum(value, -1) + x.shape[0])


class Recurrent(nn.Module):
    """An embedding and a tuple of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.words(x)
        return self.head(vectors.mean(1)), vectors.sum(1)


class Denoiser(nn.Module):
    """A residual denoiser: what comes out are images."""

    def __init__(self, channels: int = 2, width: int = 5) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Conv2d(width, channels, 3, padding=1, bias=False),
        )
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


def _classes() -> Tensor:
    return torch.tensor([0, 3, 9, 3])


def _images() -> Tensor:
    return torch.randn(4, 3, 8, 8)


def _two_losses(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.mse_loss(output[0], target) + output[1].abs().mean()


CASES: dict[str, Case] = {
    "residual": Case(Residual, _images, _classes),
    "residual, evaluating": Case(lambda: Residual().eval(), _images, _classes),
    "denoiser": Case(Denoiser, lambda: torch.randn(4, 2, 6, 6), lambda: torch.randn(4, 2, 6, 6), functional.mse_loss),
    "denoiser, evaluating": Case(
        lambda: Denoiser().eval(), lambda: torch.randn(4, 2, 6, 6), lambda: torch.randn(4, 2, 6, 6), functional.l1_loss
    ),
    "denoiser of one channel": Case(
        lambda: Denoiser(1, 12), lambda: torch.randn(4, 1, 6, 5), lambda: torch.randn(4, 1, 6, 5), functional.mse_loss
    ),
    "transformer": Case(Transformer, _images, _classes),
    "knot": Case(Knot, lambda: torch.randn(4, 6), _classes),
    "odd": Case(Odd, lambda: torch.randn(4, 6), _classes),
    "two outputs": Case(Recurrent, lambda: torch.arange(12).view(4, 3) % 7, lambda: torch.ones(4, 3), _two_losses),
    "strides, groups, dilation": Case(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(5, 6, 3, dilation=2, padding=2), nn.Tanh(), nn.Conv2d(6, 6, 3, groups=3, padding=1)),
            *(nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
        ),
        lambda: torch.randn(4, 3, 16, 16),
        _classes,
    ),
    "padding and pools": Case(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 4, 3, padding="same"), nn.MaxPool2d(3, 2, 1), nn.GELU()),
            *(nn.Conv2d(4, 4, (1, 3), padding=(0, 2), padding_mode="circular"), nn.AvgPool2d(2), nn.Dropout(0.0)),
            *(nn.Flatten(), nn.Linear(4 * 2 * 3, 10)),
        ),
        _images,
        _classes,
    ),
    "one axis": Case(
        lambda: nn.Sequential(
            *(nn.Conv1d(2, 3, 3, padding=1), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 4, 3, stride=2)),
            *(nn.SiLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 10)),
        ),
        lambda: torch.randn(4, 2, 9),
        _classes,
    ),
    "layers of features": Case(
        lambda: nn.Sequential(
            *(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
        ),
        lambda: torch.randn(4, 5),
        _classes,
        nn.CrossEntropyLoss(label_smoothing=0.1),
    ),
    "regression": Case(
        lambda: nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 1)),
        lambda: torch.randn(4, 5),
        lambda: torch.randn(4, 1),
        functional.mse_loss,
    ),
}
