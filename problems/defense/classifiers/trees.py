"""Tree classifiers, for which no gradient exists: a random forest and histogram gradient boosting.

They are trained anew in every process that asks for them, once: scikit-learn keeps trained estimators as pickles only,
and training them on digits takes less time than importing scikit-learn.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from problems.defense.classifiers.fixed import FixedClassifier, measured
from problems.defense.images import DefenseImages
from zotoolkit.checks import check_count
from zotoolkit.seeding import check_seed, derive_seed

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

_FOREST_DRAW, _BOOSTING_DRAW = 0xDE4, 0xDE5
_SEEDS = 1 << 32  # that scikit-learn takes


def random_forest(images: DefenseImages, seed: int = 0, *, trees: int = 100) -> FixedClassifier[RandomForestClassifier]:
    """Train a random forest on clean images.

    Source: Breiman, Random Forests, Machine Learning, 2001; as in scikit-learn.

    Args:
        images: To train and test on.
        seed: Of its bootstrap samples and splits.
        trees: How many.

    Raises:
        InvalidSetting: If seed or trees is out of range.

    Examples:
        >>> forest = random_forest(DefenseImages.digits())
        >>> round(forest.facts.accuracy, 2)
        0.97
    """
    return _forest(images, check_seed(seed), check_count(trees, "trees"))


def gradient_boosting(
    images: DefenseImages, seed: int = 0, *, iterations: int = 100
) -> FixedClassifier[HistGradientBoostingClassifier]:
    """Train histogram gradient boosting on clean images.

    Source: Friedman, Greedy Function Approximation, Annals of Statistics, 2001; Ke et al., LightGBM, NeurIPS 2017; as
    in scikit-learn.

    Args:
        images: To train and test on.
        seed: Of the binning's subsample, which is drawn from 200,000 images on.
        iterations: Of boosting; each adds one tree a class.

    Raises:
        InvalidSetting: If seed or iterations is out of range.
    """
    return _boosting(images, check_seed(seed), check_count(iterations, "iterations"))


@functools.lru_cache(maxsize=8)
def _forest(images: DefenseImages, seed: int, trees: int) -> FixedClassifier[RandomForestClassifier]:
    from sklearn.ensemble import RandomForestClassifier  # slow to import

    model = RandomForestClassifier(trees, random_state=derive_seed(seed, _FOREST_DRAW) % _SEEDS)
    return _fitted(model, images, "random forest", seed=seed, trees=trees)


@functools.lru_cache(maxsize=8)
def _boosting(images: DefenseImages, seed: int, iterations: int) -> FixedClassifier[HistGradientBoostingClassifier]:
    from sklearn.ensemble import HistGradientBoostingClassifier  # slow to import

    # Early stopping would start from 10,000 images on, and make the number of trees another than was asked for.
    state = derive_seed(seed, _BOOSTING_DRAW) % _SEEDS
    model = HistGradientBoostingClassifier(max_iter=iterations, random_state=state)
    model.set_params(early_stopping=False)
    return _fitted(model, images, "gradient boosting", seed=seed, iterations=iterations)


def _fitted(model: Any, images: DefenseImages, name: str, **settings: int) -> FixedClassifier[Any]:
    start = time.perf_counter()
    model.fit(images.train.flatten(1).numpy(), images.train_labels.numpy())
    seconds = time.perf_counter() - start
    return FixedClassifier(model, measured(model, images, name, settings=settings, seconds=seconds))
