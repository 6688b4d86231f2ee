"""Training as a black box: mini-batches by context, seeds, truth, metrics, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import zotoolkit
from problems.dnn import SupervisedData, TrainNetwork, digits, digits_mlp
from zotoolkit.engines import LoopEngine, VmapEngine
from zotoolkit.errors import InvalidSetting, UnknownSetting


def data(count: int = 20, classes: int = 3) -> SupervisedData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count + 8, 4, dtype=torch.float64, generator=generator)
    y = torch.randint(0, classes, (count + 8,), generator=generator)
    return SupervisedData(x[:count], y[:count], x[count:], y[count:])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def with_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Linear(50, 3)).double()


def test_an_epoch_is_a_permutation_by_context() -> None:
    objective = TrainNetwork(mlp, data(), batch_size=6)
    objective.reset(seed=1)
    assert objective.batches_per_epoch == 3
    epoch = torch.cat([objective.minibatch(k)[0] for k in range(3)])
    assert len(torch.unique(epoch, dim=0)) == 18
    second = torch.cat([objective.minibatch(k)[0] for k in range(3, 6)])
    assert len(torch.unique(second, dim=0)) == 18
    assert not torch.equal(epoch, second)
    # No state: any order of asking, and another process with the same seed, see the same batches.
    again = TrainNetwork(mlp, data(), batch_size=6)
    again.reset(seed=1)
    for k in (5, 0, 4, 1):
        assert all(torch.equal(a, b) for a, b in zip(objective.minibatch(k), again.minibatch(k), strict=True))
    again.reset(seed=2)
    assert not torch.equal(objective.minibatch(0)[0], again.minibatch(0)[0])


def test_queries_are_the_minibatch_loss() -> None:
    objective = TrainNetwork(mlp, data(), batch_size=6)
    x0, _ = objective.reset(seed=1)
    points = x0 + 0.1 * torch.randn(7, objective.dim, dtype=torch.float64)
    values, *_ = objective.step(zotoolkit.DenseBatch.at(points, context=4))
    module, (inputs, targets) = mlp(), objective.minibatch(4)
    for point, value in zip(points, values, strict=True):
        objective.layout.write(point, module)
        torch.testing.assert_close(functional.cross_entropy(module(inputs), targets).detach(), value)
    coordinate = zotoolkit.CoordinateBatch(
        base=x0, scale=torch.full((3,), 0.1, dtype=torch.float64), index=torch.tensor([0, 7, 2]), context=4
    )
    torch.testing.assert_close(objective.step(coordinate)[0], objective.evaluate(coordinate.points(), 4))
    seeded = zotoolkit.SeededBatch(base=x0, scale=coordinate.scale, seed=torch.tensor([3, 1, 2]), context=4)
    torch.testing.assert_close(objective.step(seeded)[0], objective.evaluate(seeded.points(), 4))


def test_start_is_the_initialisation_of_the_seed_and_global_draws_go_on() -> None:
    objective = TrainNetwork(mlp, data(), batch_size=5)
    state = torch.get_rng_state()
    first, _ = objective.reset(seed=1)
    other, _ = objective.reset(seed=2)
    again, _ = objective.reset(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.abs().max()) < 1.0  # torch's own initialisation: uniform in 1/sqrt(fan_in)


def test_frozen_parameters_belong_to_the_seed() -> None:
    def frozen() -> nn.Module:
        module = mlp()
        module[0].requires_grad_(False)  # pyright: ignore[reportIndexIssue]
        return module

    objective = TrainNetwork(frozen, data(), batch_size=5)
    point = torch.randn(objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    values: list[Tensor] = []
    for seed in (1, 2, 1):
        objective.reset(seed=seed)
        values.append(objective.noise_free(point[None]))
    assert torch.equal(values[0], values[2])
    assert not torch.allclose(values[0], values[1])


def test_truth_and_metrics() -> None:
    objective = TrainNetwork(mlp, data(), batch_size=6)
    x0, _ = objective.reset(seed=1)
    points = torch.stack((x0, x0 + 0.3))
    network = objective.network(points[1]).requires_grad_(False)
    train = functional.cross_entropy(network(objective.data.train_inputs), objective.data.train_targets)
    torch.testing.assert_close(objective.noise_free(points)[1], train)
    figures = objective.metrics(points[1])
    assert figures["train_loss"] == pytest.approx(float(train))
    test_inputs, test_targets = objective.data.test_inputs, objective.data.test_targets
    assert test_inputs is not None
    right = network(test_inputs).argmax(1) == test_targets
    assert figures["test_accuracy"] == pytest.approx(float(right.double().mean()))
    assert set(figures) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    assert objective.queries == 0


def test_regression_has_losses_but_no_accuracies() -> None:
    x = torch.randn(10, 4)
    objective = TrainNetwork(
        lambda: nn.Linear(4, 1), SupervisedData(x, x[:, :1]), loss=functional.mse_loss, batch_size=5
    )
    x0, _ = objective.reset(seed=0)
    assert set(objective.metrics(x0)) == {"train_loss"}


@pytest.mark.parametrize("module", [mlp, with_batch_norm])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradients_are_those_of_the_queries(module: object, mode: str) -> None:
    objective = TrainNetwork(module, data(), batch_size=6, mode=mode)  # pyright: ignore[reportArgumentType]
    x0, _ = objective.reset(seed=3)
    loss, slope = objective.gradient(x0, 2)
    step = 1e-5 * torch.eye(objective.dim, dtype=torch.float64)
    differences = (objective.evaluate(x0 + step, 2) - objective.evaluate(x0 - step, 2)) / 2e-5
    torch.testing.assert_close(slope, differences, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(loss, objective.evaluate(x0[None], 2)[0])


def test_batch_norm_trains_on_the_minibatch_and_is_measured_on_the_training_set() -> None:
    objective = TrainNetwork(with_batch_norm, data(), batch_size=6)
    x0, _ = objective.reset(seed=1)
    first = objective.evaluate(x0[None], 0)
    objective.evaluate(x0[None], 1)
    assert torch.equal(objective.evaluate(x0[None], 0), first)  # no running statistics creep in
    module = with_batch_norm()
    objective.layout.write(x0, module)
    inputs, targets = objective.minibatch(0)
    torch.testing.assert_close(functional.cross_entropy(module.train()(inputs), targets).detach(), first[0])
    epoch = torch.stack([objective.evaluate(x0[None], k)[0] for k in range(objective.batches_per_epoch)])
    torch.testing.assert_close(objective.noise_free(x0[None])[0], epoch.mean())
    network = objective.network(x0)
    norm = network[1]  # pyright: ignore[reportIndexIssue]
    hidden = torch.cat([network[0](objective.minibatch(k)[0]) for k in range(3)])  # pyright: ignore[reportIndexIssue]
    torch.testing.assert_close(norm.running_mean, hidden.mean(0).detach())
    assert not network.training


def test_dropout_is_a_function_of_the_context() -> None:
    x0, _ = (refused := TrainNetwork(with_dropout, data(), batch_size=6, engine=VmapEngine)).reset(seed=1)
    with pytest.raises(InvalidSetting, match="randomness='same'"):
        refused.step(zotoolkit.DenseBatch.at(x0[None]))
    off = TrainNetwork(with_dropout, data(), batch_size=6, mode="eval")
    off.reset(seed=1)
    off.step(zotoolkit.DenseBatch.at(x0[None]))
    objective = TrainNetwork(with_dropout, data(), batch_size=6)
    objective.reset(seed=1)
    pair = torch.stack((x0, x0))
    values = objective.evaluate(pair, 0)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(objective.evaluate(x0[None], 0)[0], values[0])
    assert not torch.allclose(objective.evaluate(pair, 3), values)
    torch.testing.assert_close(objective.gradient(x0, 0)[0], values[0])
    torch.testing.assert_close(objective.noise_free(pair), off.noise_free(pair))


def test_coordinate_queries_agree_with_their_points() -> None:
    objective = TrainNetwork(mlp, data(), batch_size=6)
    x0, _ = objective.reset(seed=1)
    index = torch.arange(objective.dim)
    batch = zotoolkit.CoordinateBatch(base=x0, scale=torch.full_like(x0, 0.1), index=index, context=2)
    values, *_, info = objective.step(batch)
    torch.testing.assert_close(values, objective.evaluate(batch.points(), 2))
    assert info["costs"]["forward_equivalents"] < objective.dim / 2


def test_engines_agree() -> None:
    vmap, loop = (TrainNetwork(mlp, data(), batch_size=6, engine=engine) for engine in (VmapEngine, LoopEngine))
    x0, _ = vmap.reset(seed=1)
    loop.reset(seed=1)
    points = x0 + torch.randn(5, vmap.dim, dtype=torch.float64)
    torch.testing.assert_close(vmap.evaluate(points, 2), loop.evaluate(points, 2))


@pytest.mark.parametrize(
    ("id", "settings"), [("DNN/DigitsMLP-v0", {"hidden": 6}), ("DNN/DigitsCNN-v0", {"channels": 2, "batch_size": 16})]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_registered_networks_train(id: str, settings: dict[str, int], dtype: str) -> None:
    objective = zotoolkit.make(id, dtype=dtype, activation="tanh", **settings)
    x0, _ = objective.reset(seed=0)
    assert x0.dtype == getattr(torch, dtype)
    before = objective.metrics(x0)
    assert set(before) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    solver = zotoolkit.make_solver("ZO/Adam-CGE-v0", mu=1e-3)
    result = zotoolkit.minimize(objective, solver, budget=25 * (objective.dim + 1), progress=False)
    assert result.metrics["train_loss"] < before["train_loss"] - 0.1
    assert result.metrics["test_accuracy"] > before["test_accuracy"]


def test_settings_of_the_registered_networks() -> None:
    assert zotoolkit.make("DNN/DigitsMLP-v0", hidden=8).dim == 610
    assert zotoolkit.make("DNN/DigitsMLP-v0", hidden=[8, 6]).dim == 64 * 8 + 8 + 8 * 6 + 6 + 60 + 10
    assert zotoolkit.make("DNN/DigitsMLP-v0", batch_size=None).metadata["batch_size"] == 1438
    assert zotoolkit.make("DNN/DigitsCNN-v0", channels=2).metadata["name"] == "Digits CNN"
    for settings, words in (
        ({"hidden": 0}, "hidden must be an integer of at least 1, got 0"),
        ({"activation": "relo"}, "Did you mean 'relu'"),
        ({"batch_size": 5000}, "batch_size must be at most the 1438 training samples, got 5000"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"dtype": "int8"}, "dtype must be one of"),
    ):
        with pytest.raises(InvalidSetting, match=words):
            zotoolkit.make("DNN/DigitsMLP-v0", **settings)
    with pytest.raises(InvalidSetting, match="channels must be"):
        zotoolkit.make("DNN/DigitsCNN-v0", channels=0)
    with pytest.raises(UnknownSetting, match="Did you mean 'hidden'"):
        zotoolkit.make("DNN/DigitsMLP-v0", hiden=3)


def test_bad_modules_are_said() -> None:
    with pytest.raises(InvalidSetting, match="module must be a function that builds a network, got Linear"):
        TrainNetwork(nn.Linear(4, 3), data())
    with pytest.raises(InvalidSetting, match=r"module must return a torch\.nn\.Module, got None"):
        TrainNetwork(lambda: None, data())  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="data must be SupervisedData"):
        TrainNetwork(mlp, (1, 2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="mode must be one of"):
        TrainNetwork(mlp, data(), batch_size=5, mode="training")
    widths = iter((5, 5, 6, 6))
    changing = TrainNetwork(lambda: nn.Linear(4, next(widths)).double(), data(), batch_size=5)
    changing.reset(seed=0)
    with pytest.raises(InvalidSetting, match="same parameters every time"):
        changing.reset(seed=1)


def test_a_trained_network_can_be_the_start() -> None:
    trained = mlp()
    objective = TrainNetwork(lambda: copy.deepcopy(trained), data(), batch_size=5, low=-2.0, high=2.0)
    x0, _ = objective.reset(seed=9)
    assert torch.equal(x0, objective.layout.flatten(trained))
    assert float(objective.space.high.max()) == 2.0


def test_digits_data_is_shared_between_objectives() -> None:
    assert digits_mlp().data.train_inputs.data_ptr() == digits().train_inputs.data_ptr()
