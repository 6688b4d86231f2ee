from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from problems.defense.classifiers import small_cnn
from problems.defense.images import DefenseImages
from problems.defense.pretraining import pretrain_autoencoder, pretrain_denoiser
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting
from zotoolkit.seeding import torch_generator


def images() -> DefenseImages:
    return DefenseImages.digits().subset(train=256, test=50)


def denoiser() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Conv2d(8, 1, 3, padding=1),
    )


def encoder() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8))


def decoder() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.Unflatten(1, (1, 8, 8)))


def error(module: nn.Module, sigma: float) -> float:
    x = images().test
    with torch.no_grad():
        return float((module(x + sigma * torch.randn(x.shape, generator=torch_generator(5))) - x).square().mean())


def same(first: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_denoiser_denoises() -> None:
    done = pretrain_denoiser(denoiser, images(), 0.5, epochs=20, lr=5e-3, cache=False)
    assert error(done.module, 0.5) < 0.4 * 0.25  # less than half of what the noise does
    assert not done.module.training
    assert done.record.epochs == 20
    assert done.record.loss == pytest.approx(error(done.module, 0.5), rel=0.3)
    assert done.record.seconds > 0


def test_the_seed_decides_and_global_generators_do_not() -> None:
    settings: dict[str, Any] = {"epochs": 2, "cache": False}
    before = torch.get_rng_state()
    first = pretrain_denoiser(denoiser, images(), 0.5, seed=1, **settings).module
    assert torch.equal(before, torch.get_rng_state())
    with seeded_randomness(77, torch.device("cpu")):
        again = pretrain_denoiser(denoiser, images(), 0.5, seed=1, **settings).module
    assert same(first, again)
    assert not same(first, pretrain_denoiser(denoiser, images(), 0.5, seed=2, **settings).module)


def test_a_module_is_trained_in_place_from_where_it_stands() -> None:
    with seeded_randomness(0, torch.device("cpu")):
        module = denoiser()
    start = copy.deepcopy(module)
    done = pretrain_denoiser(module, images(), 0.5, epochs=1, cache=False)
    assert done.module is module
    assert not same(module, start)
    assert same(module, pretrain_denoiser(start, images(), 0.5, epochs=1, cache=False).module)


def test_the_cache_gives_back_what_was_trained() -> None:
    first = pretrain_denoiser(denoiser, images(), 0.3, epochs=1)
    again = pretrain_denoiser(denoiser, images(), 0.3, epochs=1)
    assert not first.record.cached
    assert again.record.cached
    assert (again.record.loss, again.record.seconds) == (first.record.loss, first.record.seconds)
    assert same(first.module, again.module)
    assert not again.module.training
    fewer_to_test = images().subset(test=10)  # what is not trained on decides nothing
    assert pretrain_denoiser(denoiser, fewer_to_test, 0.3, epochs=1).record.cached
    for other in ({"epochs": 2}, {"lr": 2e-3}, {"batch_size": 48}, {"seed": 1}):
        assert not pretrain_denoiser(denoiser, images(), 0.3, **{"epochs": 1, **other}).record.cached
    assert not pretrain_denoiser(denoiser, images(), 0.4, epochs=1).record.cached
    assert not pretrain_denoiser(denoiser, images().subset(train=128), 0.3, epochs=1).record.cached
    again.module.get_parameter("0.weight").data.mul_(1.5)  # another start, trained from there
    assert not pretrain_denoiser(again.module, images(), 0.3, epochs=1).record.cached


def test_stability_asks_a_white_box_for_its_own_labels() -> None:
    classifier = small_cnn(images(), epochs=20).model
    before = copy.deepcopy(classifier.state_dict())
    settings: dict[str, Any] = {"epochs": 12, "lr": 5e-3, "cache": False}
    done = pretrain_denoiser(denoiser, images(), 0.5, loss="stability", classifier=classifier, **settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    x = images().test
    noisy = x + 0.5 * torch.randn(x.shape, generator=torch_generator(6))

    def agrees(inputs: Tensor) -> float:
        with torch.no_grad():
            return float((classifier(inputs).argmax(1) == classifier(x).argmax(1)).double().mean())

    with torch.no_grad():
        assert agrees(done.module(noisy)) > agrees(noisy)


def test_stability_is_cached_by_the_classifier() -> None:
    first, other = (small_cnn(images(), seed, epochs=1).model for seed in (0, 1))
    settings: dict[str, Any] = {"epochs": 1, "loss": "stability"}
    assert not pretrain_denoiser(denoiser, images(), 0.5, classifier=first, **settings).record.cached
    assert pretrain_denoiser(denoiser, images(), 0.5, classifier=first, **settings).record.cached
    assert not pretrain_denoiser(denoiser, images(), 0.5, classifier=other, **settings).record.cached


def test_an_autoencoder_reconstructs() -> None:
    done = pretrain_autoencoder(encoder, decoder, images(), epochs=120, lr=1e-2)
    module = nn.Sequential(*done.module)
    variance = float(images().test.var(dim=0).mean())
    assert error(module, 0.0) < 0.5 * variance
    again = pretrain_autoencoder(encoder, decoder, images(), epochs=120, lr=1e-2)
    assert again.record.cached
    assert same(module, nn.Sequential(*again.module))
    noisy = pretrain_autoencoder(encoder, decoder, images(), epochs=120, lr=1e-2, noise=0.5)
    assert not noisy.record.cached
    assert error(nn.Sequential(*noisy.module), 0.5) < error(module, 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sigma": 0.0}, "sigma must be a finite number above 0"),
        ({"sigma": float("nan")}, "sigma must be a finite number above 0"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"lr": -1.0}, "lr must be a finite number above 0"),
        ({"seed": -1}, "seed must be an integer in"),
        ({"loss": "stab"}, "loss must be one of 'mse', 'stability'"),
        ({"loss": "stability"}, "needs classifier=, a torch module"),
        ({"classifier": nn.Flatten()}, "other losses take none"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"module": 3}, "a network must be a torch.nn.Module or a function that builds one, got 3"),
        ({"module": lambda: 3}, "a network must be a torch.nn.Module or a function"),
        ({"module": nn.Flatten()}, r"must return one image of shape \(1, 8, 8\) for each, got a tensor of shape"),
        ({"module": nn.Conv2d(3, 3, 1)}, r"the network cannot take images of shape \(1, 8, 8\)"),
        ({"lr": 1e30}, "training diverged"),
    ],
)
def test_bad_settings_of_a_denoiser_are_said(changes: dict[str, Any], words: str) -> None:
    settings = {"module": denoiser, "images": images(), "sigma": 0.5, "epochs": 1, "cache": False, **changes}
    with pytest.raises(InvalidSetting, match=words):
        pretrain_denoiser(**settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": -0.1}, "noise must be a finite number of at least 0"),
        ({"decoder": nn.Linear(8, 64)}, "must return one image of shape"),
        ({"decoder": nn.Linear(9, 64)}, "the network cannot take images"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
    ],
)
def test_bad_settings_of_an_autoencoder_are_said(changes: dict[str, Any], words: str) -> None:
    settings = {"encoder": encoder, "decoder": decoder, "images": images(), "epochs": 1, "cache": False, **changes}
    with pytest.raises(InvalidSetting, match=words):
        pretrain_autoencoder(**settings)


def test_progress_shows(capsys: pytest.CaptureFixture[str]) -> None:
    pretrain_denoiser(denoiser, images(), 0.5, epochs=1, cache=False, progress=True)
    assert "denoiser: 100%" in capsys.readouterr().err
