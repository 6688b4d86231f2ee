"""Augmented, normalised, block by block: what queries see and what is measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from problems.dnn import CropFlip, SupervisedData, TrainNetwork
from problems.dnn.evaluation import blocks
from zotoolkit.errors import InvalidSetting


def images(count: int = 40) -> SupervisedData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count + 10, 1, 6, 6), generator=generator, dtype=torch.uint8)
    y = torch.arange(count + 10) % 3
    return SupervisedData(x[:count], y[:count], x[count:], y[count:], mean=0.4, std=0.25)


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)).double()


def made(module: Any = plain, **settings: Any) -> tuple[TrainNetwork, Tensor]:
    objective = TrainNetwork(module, images(), **{"batch_size": 8, **settings})
    return objective, objective.reset(seed=1)[0]


def test_a_minibatch_is_augmented_then_normalised_by_seed_and_context() -> None:
    objective, _ = made(augment=CropFlip(padding=1))
    raw, _ = made()
    inputs, targets = objective.minibatch(7)
    assert inputs.dtype == torch.float64  # the network's
    assert torch.equal(inputs, objective.minibatch(7)[0])
    assert torch.equal(targets, raw.minibatch(7)[1])
    assert not torch.equal(inputs, raw.minibatch(7)[0])
    black = float((inputs - (0 - 0.4) / 0.25).abs().min())
    assert black < 1e-12  # what comes in at the rim
    objective.reset(seed=2)
    assert not torch.equal(inputs, objective.minibatch(7)[0])
    whole, _ = made(batch_size=None, augment=CropFlip(padding=1))
    assert not torch.equal(whole.minibatch(0)[0], whole.minibatch(1)[0])
    assert torch.equal(whole.data.train_inputs, images().train_inputs)


def test_gradients_and_queries_see_the_same_images() -> None:
    objective, x0 = made(normed, augment=CropFlip(padding=1))
    loss, slope = objective.gradient(x0, 2)
    torch.testing.assert_close(loss, objective.evaluate(x0[None], 2)[0])
    step = 1e-5 * torch.randn(objective.dim, dtype=torch.float64)
    ends = objective.evaluate(torch.stack((x0 + step, x0 - step)), 2)
    torch.testing.assert_close(slope @ step, (ends[0] - ends[1]) / 2, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("settings", [{"module": normed}, {"augment": CropFlip(padding=1)}])
def test_truth_is_the_first_epoch_where_samples_are_not_on_their_own(settings: dict[str, Any]) -> None:
    objective, x0 = made(**settings)
    points = torch.stack((x0, x0 + 0.1))
    epoch = torch.stack([objective.evaluate(points, k) for k in range(5)])
    torch.testing.assert_close(objective.noise_free(points), epoch.mean(0))
    part, _ = made(**settings, evaluation_samples=16)
    torch.testing.assert_close(part.noise_free(points), epoch[:2].mean(0))


def test_truth_and_training_figures_of_a_part() -> None:
    objective, x0 = made(evaluation_samples=11)
    epoch = torch.cat([objective.minibatch(k)[0] for k in range(2)])[:11]
    targets = torch.cat([objective.minibatch(k)[1] for k in range(2)])[:11]
    network = objective.network(x0)
    loss = functional.cross_entropy(network(epoch), targets).detach()
    torch.testing.assert_close(objective.noise_free(x0[None])[0], loss)
    assert objective.metrics(x0)["train_loss"] == pytest.approx(float(loss))


def test_metrics_are_of_images_as_they_are() -> None:
    objective, x0 = made(augment=CropFlip(padding=1))
    other, _ = made()
    assert objective.metrics(x0) == other.metrics(x0)


@pytest.mark.parametrize(("samples", "batches"), [(1, 1), (16, 2), (17, 3), (10_000, 5)])
def test_batch_norm_is_re_estimated_from_so_many_samples_as_queries_see_them(samples: int, batches: int) -> None:
    objective, x0 = made(normed, augment=CropFlip(padding=1), norm_samples=samples)
    network = objective.network(x0)
    hidden = [network[0](objective.minibatch(k)[0]) for k in range(batches)]  # pyright: ignore[reportIndexIssue]
    norm = network[1]  # pyright: ignore[reportIndexIssue]
    torch.testing.assert_close(norm.running_mean, torch.stack([h.mean((0, 2, 3)) for h in hidden]).mean(0).detach())
    torch.testing.assert_close(norm.running_var, torch.stack([h.var((0, 2, 3)) for h in hidden]).mean(0).detach())
    assert norm.momentum == 0.1
    assert not network.training
    assert torch.equal(network.state_dict()["1.running_var"], objective.network(x0).state_dict()["1.running_var"])


def test_in_mode_eval_batch_norm_keeps_what_the_network_brought() -> None:
    objective, x0 = made(normed, mode="eval")
    network = objective.network(x0)
    assert torch.equal(network[1].running_mean, torch.zeros(2, dtype=torch.float64))  # pyright: ignore[reportIndexIssue]
    loss = functional.cross_entropy(network(objective.minibatch(0)[0]), objective.minibatch(0)[1])
    torch.testing.assert_close(objective.evaluate(x0[None], 0)[0], loss.detach())


def test_blocks_cover_everything_and_stay_small() -> None:
    big = torch.empty(5000, 3, 32, 32, dtype=torch.uint8)
    parts = list(blocks(big))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert sum(len(big[part]) for part in parts) == 5000
    assert all(big[part].numel() * 4 <= 8 << 20 for part in parts)
    assert len(list(blocks(torch.empty(3, 2000, 2000)))) == 3


def test_bad_settings_are_said() -> None:
    for settings, words in (
        ({"augment": 3}, r"augment must be called as augment\(inputs, seed\), got 3"),
        ({"evaluation_samples": 0}, "evaluation_samples must be an integer of at least 1"),
        ({"norm_samples": 0}, "norm_samples must be an integer of at least 1"),
    ):
        with pytest.raises(InvalidSetting, match=words):
            made(**settings)
    cropped, _ = made(augment=lambda inputs, seed: inputs[:, :, 1:])
    with pytest.raises(InvalidSetting, match=r"augment must keep the shape \(8, 1, 6, 6\), got a tensor of shape"):
        cropped.minibatch(0)


def test_data_may_say_another_dtype() -> None:
    objective = TrainNetwork(lambda: plain().float(), dataclasses.replace(images(), dtype=torch.float32), batch_size=8)
    assert objective.minibatch(0)[0].dtype == torch.float32
    assert objective.metadata["batches_per_epoch"] == objective.batches_per_epoch == 5
