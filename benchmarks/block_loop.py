"""The baseline of the ResNet benchmarks: the obvious loop, with the features of whole blocks reused.

As the authors of DeepZero do it: the input of every block is kept, one weight is perturbed in place, the network runs
from the start of the block that holds it, with batch norm on the mini-batch's statistics, and the weight is put back.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from problems.dnn import CifarResNet


class BlockLoop:
    """A ResNet, its mini-batch, and the kept inputs of its blocks.

    Args:
        network: The ResNet; a copy is worked on.
        inputs: `(B, 3, 32, 32)` images.
        targets: `(B,)` classes.
    """

    def __init__(self, network: CifarResNet, inputs: Tensor, targets: Tensor) -> None:
        network = copy.deepcopy(network).train()
        self._targets = targets
        self._parts: list[nn.Module] = [
            nn.Sequential(network.conv1, network.bn1, network.relu),
            *network.layer1,
            *network.layer2,
            *network.layer3,
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.fc),
        ]
        self._parameters = dict(network.named_parameters())
        holders = {id(p): at for at, part in enumerate(self._parts) for p in part.parameters()}
        self._holder = {name: holders[id(p)] for name, p in self._parameters.items()}
        self._kept = [inputs]
        with torch.no_grad():
            for part in self._parts[:-1]:
                self._kept.append(part(self._kept[-1]))

    def losses(self, name: str, entries: list[int], mu: float) -> list[float]:
        """Return the loss with each of these entries of one parameter perturbed."""
        flat = self._parameters[name].data.view(-1)
        start = self._holder[name]
        values: list[float] = []
        with torch.no_grad():
            for entry in entries:
                kept = flat[entry].clone()
                flat[entry] += mu
                hidden = self._kept[start]
                for part in self._parts[start:]:
                    hidden = part(hidden)
                values.append(float(functional.cross_entropy(hidden, self._targets)))
                flat[entry] = kept
        return values

    def direction_losses(self, seeds: list[int], mu: float) -> list[float]:
        """Return the loss along normal directions: drawn by torch, added in place, all of it run, taken back."""
        values: list[float] = []
        with torch.no_grad():
            for seed in seeds:
                generator = torch.Generator(self._targets.device).manual_seed(seed)
                drawn = [torch.randn(p.shape, generator=generator, device=p.device) for p in self._parameters.values()]
                for parameter, direction in zip(self._parameters.values(), drawn, strict=True):
                    parameter.data.add_(direction, alpha=mu)
                hidden = self._kept[0]
                for part in self._parts:
                    hidden = part(hidden)
                values.append(float(functional.cross_entropy(hidden, self._targets)))
                for parameter, direction in zip(self._parameters.values(), drawn, strict=True):
                    parameter.data.sub_(direction, alpha=mu)
        return values


def resnet_task(depth: int, batch: int, device: str) -> tuple[CifarResNet, Tensor, Tensor]:
    """Return a ResNet as it is initialised and a mini-batch of noise: speed does not depend on what is seen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CifarResNet(depth)
        inputs, targets = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    return network.to(device), inputs.to(device), targets.to(device)
