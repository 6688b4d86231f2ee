"""Networks and labels that would go wrong silently are refused when the objective is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from typing_extensions import override

from problems.dnn import SupervisedData, TrainNetwork
from zotoolkit.engines import LoopEngine
from zotoolkit.errors import InvalidSetting


def data(classes: int = 3, count: int = 20) -> SupervisedData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator)
    y = torch.randint(0, classes, (count,), generator=generator)
    return SupervisedData(x[:-5], y[:-5], x[-5:], y[-5:])


class Layer(nn.Module):
    """A linear layer that something is done to."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class OwnGenerator(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.01 * torch.randn(3, generator=self.generator)


class CallCounter(Layer):
    calls = 0

    @override
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) / self.calls


class CountingBuffer(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @override
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # pyright: ignore[reportOperatorIssue]
        return super().forward(x)


class Locked(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def in_place_first() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))


def spectral() -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Linear(4, 3)))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (OwnGenerator, "OwnGenerator gave two outputs for the same parameters and inputs"),
        (CallCounter, "CallCounter gave two outputs"),
        (CountingBuffer, "CountingBuffer changes its buffer 'calls' when it is called"),
        (spectral, r"changes its buffer '0\.parametrizations\.weight\.0\._[uv]'.*use mode='eval'"),
        (in_place_first, "writes into its inputs.*inplace=True"),
        (Locked, "Locked cannot be copied"),
        (lambda: nn.Linear(7, 3), r"Linear cannot take the data's inputs, a tensor of shape \(4, 4\)"),
    ],
)
def test_what_is_no_pure_function_is_refused(module: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        TrainNetwork(module, data(), batch_size=5)


def test_what_is_one_is_not() -> None:
    TrainNetwork(spectral, data(), batch_size=5, mode="eval")
    TrainNetwork(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)), data(), batch_size=5)
    TrainNetwork(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), data(), batch_size=5)
    TrainNetwork(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)), data(), batch_size=5)


def test_batch_norm_needs_two_samples() -> None:
    with pytest.raises(InvalidSetting, match=r"a tensor of shape \(1, 4\).*more than 1 value per channel"):
        TrainNetwork(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), data(), batch_size=1)
    TrainNetwork(Layer, data(), batch_size=1)


def test_raw_bytes_need_a_normalisation() -> None:
    raw = SupervisedData(torch.zeros(6, 4, dtype=torch.uint8), torch.tensor([0, 1] * 3))
    with pytest.raises(
        InvalidSetting, match=r"cannot take .*uint8 inputs become floating point if the data have a mean"
    ):
        TrainNetwork(Layer, raw, batch_size=2)


@pytest.mark.parametrize("loss", [functional.cross_entropy, nn.CrossEntropyLoss(), functional.nll_loss])
@pytest.mark.parametrize("part", ["training", "test"])
def test_labels_must_fit_the_output(loss: Callable[[Tensor, Tensor], Tensor], part: str) -> None:
    good = data()
    targets = {"training": good.train_targets, "test": good.test_targets}
    wrong = targets[part]
    assert wrong is not None
    assert good.test_targets is not None
    for label in (3, -1):
        wrong[2] = label
        bad = SupervisedData(good.train_inputs, good.train_targets, good.test_inputs, good.test_targets)
        words = f"labels of the {part} set must be 0 to 2, since the network has 3 outputs, got {label}"
        with pytest.raises(InvalidSetting, match=words):
            TrainNetwork(Layer, bad, batch_size=5, loss=loss)
    wrong[2] = -100  # which these losses leave out
    TrainNetwork(Layer, SupervisedData(good.train_inputs, good.train_targets), batch_size=5, loss=loss)


def test_a_loss_of_ones_own_meets_the_highest_label() -> None:
    good = data()
    good.train_targets[11] = 3
    with pytest.raises(InvalidSetting, match=r"loss\(output, target\) fails on the network's output.*out of bounds"):
        TrainNetwork(Layer, good, batch_size=5, loss=lambda o, t: functional.cross_entropy(o, t, label_smoothing=0.1))


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, target: functional.cross_entropy(output, target, reduction="none"),
        lambda output, target: 1.0,
        lambda output, target: (output.argmax(1) == target).sum(),
    ],
)
def test_a_loss_is_one_number(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(InvalidSetting, match="must return one floating-point number a candidate"):
        TrainNetwork(Layer, data(), batch_size=5, loss=loss)


def test_a_device_that_is_not_there() -> None:
    for device, words in (
        ("cuda:99", r"device 'cuda:99' is not there \(.*\); use device='cpu'"),
        ("gpu", "device must be such as 'cpu' or 'cuda:0', got 'gpu'"),
        ("meta", "device 'meta' holds no numbers"),
    ):
        with pytest.raises(InvalidSetting, match=words) as caught:
            TrainNetwork(Layer, data(), batch_size=5, device=device)
        assert "\n" not in str(caught.value)


class Everything(nn.Module):
    """Frozen, tied and integer parameters, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight  # tied
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.order = nn.Parameter(torch.tensor([2, 0, 1, 3]), requires_grad=False)
        self.register_buffer("scale", torch.full((4,), 0.5))
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 3)

    @override
    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.second(self.first(x))[:, self.order] * self.scale)
        return self.last(self.norm(self.frozen(x)))


@pytest.mark.parametrize("engine", [None, LoopEngine])
def test_only_trainable_parameters_move(engine: type[LoopEngine] | None) -> None:
    settings: dict[str, Any] = {} if engine is None else {"engine": engine}
    objective = TrainNetwork(Everything, data(), batch_size=5, **settings)
    x0, _ = objective.reset(seed=1)
    assert objective.dim == 16 + 4 + 4 + 8 + 15
    assert objective.layout["second.weight"].start == objective.layout["first.weight"].start == 0
    before = {name: value.clone() for name, value in objective.engine.module.state_dict().items()}
    far = objective.network(x0 + 1.0).state_dict()
    objective.evaluate(torch.stack((x0, x0 + 1.0)), 3)
    after = objective.engine.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    start = objective.network(x0).state_dict()
    for name in ("frozen.weight", "frozen.bias", "order", "scale"):
        assert torch.equal(far[name], start[name])
    assert torch.equal(far["second.weight"], far["first.weight"])
    torch.testing.assert_close(far["first.weight"], start["first.weight"] + 1.0)
    plain = Everything()
    plain.load_state_dict(start, strict=True)
    inputs, targets = objective.minibatch(3)
    expected = functional.cross_entropy(plain.train()(inputs), targets)
    torch.testing.assert_close(objective.evaluate(x0[None], 3)[0], expected.detach())
