"""Networks that make candidates difficult, and the plain way to run them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from zotoolkit.engines.base import seeded_randomness
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.queries import QueryBatch
from zotoolkit.seeding import torch_generator


def made(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return the module in float64 with parameters of a seed, none of them 0."""
    module = module.double()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch_generator(seed, number)).double() / 3)
    return module


def states(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch_generator(seed, 99), dtype=torch.float64)


def plainly(module: nn.Module, batch: QueryBatch, inputs: Tensor) -> Tensor:
    """Return what each candidate's network gives, one after the other."""
    layout = ParameterLayout.of(module)
    rows = [functional_call(module, layout.unflatten(point), (inputs[p],)) for p, point in enumerate(batch.points())]
    return torch.stack(rows).detach()


class Recurrent(nn.Module):
    """Uses one layer as often as its input says."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        for _ in range(x.ndim + 1):
            h = torch.tanh(self.again(h))
        return self.last(h)


class ReadsAWeight(nn.Module):
    """Uses the weight of its first layer once more, by itself, and a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 5), nn.Linear(5, 5)
        self.gain = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gain * functional.linear(torch.tanh(self.first(x)), self.first.weight))


class NoLayerCalled(nn.Module):
    """Takes the weights out of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.layer.weight.t() + self.layer.bias


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class MixesRows(nn.Module):
    """Subtracts the mean over all rows that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(h - h.mean(0))


class Decides(nn.Module):
    """Takes a way for each row that depends on its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.last(row) if float(self.first(row).sum()) > 0 else -self.last(row) for row in x])


class RowsElsewhere(nn.Module):
    """Shows its layer the rows in another order of axes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        turned = self.layer(x.flip(0).t()[:, :1].t()) if len(x) == 1 else self.layer(x.flip(0)).flip(0)
        return self.last(torch.tanh(turned))


def convolutions(**settings: object) -> nn.Module:
    with seeded_randomness(0, torch.device("cpu")):
        return nn.Sequential(nn.Conv2d(4, 6, **settings), nn.Tanh(), nn.Conv2d(6, 2, 3, padding=1))  # pyright: ignore[reportArgumentType]
