"""Every fixed classifier: good on clean images, the same for the same seed, frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from problems.defense.classifiers import (
    FixedClassifier,
    gradient_boosting,
    predicted_labels,
    random_forest,
    small_cnn,
)
from problems.defense.classifiers import trees as tree_module
from problems.defense.images import DefenseImages
from zotoolkit.errors import InvalidSetting

Make = Callable[..., FixedClassifier[Any]]
QUICK = {random_forest: {"trees": 10}, gradient_boosting: {"iterations": 5}, small_cnn: {"epochs": 2}}
ALL = pytest.mark.parametrize("make", QUICK, ids=lambda make: make.__name__)


def part() -> DefenseImages:
    return DefenseImages.digits().subset(train=300, test=60)


@pytest.mark.parametrize(("make", "least"), [(random_forest, 0.96), (gradient_boosting, 0.96), (small_cnn, 0.96)])
def test_clean_digits_are_recognised(make: Make, least: float) -> None:
    images = DefenseImages.digits()
    classifier = make(images)
    assert classifier.facts.accuracy >= least
    labels = predicted_labels(classifier.model, images.test)
    assert labels.dtype == torch.int64
    assert float((labels == images.test_labels).double().mean()) == pytest.approx(classifier.facts.accuracy)
    assert make(images) is classifier  # once a process
    assert classifier.facts.images == images.fingerprint
    assert len(classifier.facts.answers) == 64


@ALL
def test_the_seed_decides(make: Make) -> None:
    first, again, other = (make(part(), seed, **QUICK[make]) for seed in (3, 3, 4))
    assert first is again
    assert dict(first.facts.settings)["seed"] == 3
    noisy = part().test + 0.4 * torch.randn(part().test.shape, generator=torch.Generator().manual_seed(0))
    tree_module._forest.cache_clear()
    tree_module._boosting.cache_clear()
    anew = make(part(), 3, **QUICK[make], **({"cache": False} if make is small_cnn else {}))
    assert anew is not first
    assert anew.facts.answers == first.facts.answers
    assert torch.equal(predicted_labels(anew.model, noisy), predicted_labels(first.model, noisy))
    if make is not gradient_boosting:  # which draws nothing from so few images
        assert other.facts.answers != first.facts.answers


def test_the_forest_has_the_trees_asked_for() -> None:
    assert len(random_forest(part(), trees=7).model.estimators_) == 7
    assert gradient_boosting(part(), iterations=3).model.n_iter_ == 3


def test_the_network_is_small_frozen_and_evaluates() -> None:
    network = small_cnn(part(), 1, epochs=1).model
    assert isinstance(network, nn.Module)
    assert sum(p.numel() for p in network.parameters()) == 1898
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_the_network_comes_from_the_cache_in_another_process() -> None:
    from problems.defense.classifiers import convolutional

    first = small_cnn(part(), 7, epochs=1)
    assert not first.facts.cached
    convolutional._trained.cache_clear()
    again = small_cnn(part(), 7, epochs=1)
    assert again.facts.cached
    assert again.model is not first.model
    assert again.facts.answers == first.facts.answers
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert not small_cnn(part(), 7, epochs=2).facts.cached


def test_training_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state()
    small_cnn(part(), 9, epochs=1, cache=False)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (random_forest, {"trees": 0}, "trees must be an integer of at least 1"),
        (random_forest, {"seed": -1}, "seed must be an integer in"),
        (gradient_boosting, {"iterations": 1.5}, "iterations must be an integer of at least 1"),
        (gradient_boosting, {"seed": "a"}, "seed must be an integer in"),
        (small_cnn, {"epochs": 0}, "epochs must be an integer of at least 1"),
        (small_cnn, {"lr": 0.0}, "lr must be a finite number above 0"),
        (small_cnn, {"batch_size": 0}, "batch_size must be an integer of at least 1"),
        (small_cnn, {"channels": 0}, "channels must be an integer of at least 1"),
        (small_cnn, {"lr": 1e30, "epochs": 1}, "training diverged"),
    ],
)
def test_bad_settings_are_said(make: Make, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        make(part(), **settings)


def test_a_network_wants_square_images_that_can_be_halved_twice() -> None:
    labels = torch.tensor([0, 1])
    for shape, words in (((2, 1, 8, 4), "images must be square"), ((2, 1, 3, 3), "size must be at least 4")):
        x = torch.zeros(shape)
        with pytest.raises(InvalidSetting, match=words):
            small_cnn(DefenseImages(x, labels, x, labels))
