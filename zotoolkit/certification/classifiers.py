"""What may be certified: callables, torch modules, scikit-learn estimators, anything with a `predict` of tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zotoolkit.errors import InvalidSetting, brief

Predict = Callable[[Tensor], Any]
"""Takes `(m, *shape)` images; returns `(m,)` labels, -1 for a failed query, or `(m, classes)` scores, NaN likewise."""


def as_predict(classifier: object) -> Predict:
    """Return a function of `(m, *shape)` images that answers as the classifier does.

    Args:
        classifier: A torch module in evaluation mode, a fitted scikit-learn classifier, an object with a method
            `predict` of `(m, *shape)` tensors (such as a `QueryModel`), or a callable.

    Raises:
        InvalidSetting: If it is none of these, a module in training mode, or an estimator that is not fitted or whose
            labels are not 0 to classes - 1.

    Examples:
        >>> predict = as_predict(nn.Flatten().eval())
        >>> predict(torch.zeros(2, 1, 3)).shape
        torch.Size([2, 3])
    """
    if isinstance(classifier, nn.Module):
        return _of_module(classifier)
    if _is_estimator(classifier):
        return _of_estimator(classifier)
    method = getattr(classifier, "predict", None)
    if callable(method) and not isinstance(classifier, type):
        return method
    if callable(classifier) and not isinstance(classifier, type):
        return classifier
    raise InvalidSetting(
        f"a classifier must be a callable, a torch module, a scikit-learn classifier or have a method predict, "
        f"got {brief(classifier)}."
    )


def is_classifier(thing: object) -> bool:
    """Whether it is one by its type: a module, an estimator or an object with a method `predict`."""
    if isinstance(thing, type):
        return False
    return isinstance(thing, nn.Module) or _is_estimator(thing) or callable(getattr(thing, "predict", None))


def _of_module(module: nn.Module) -> Predict:
    if any(part.training for part in module.modules()):
        raise InvalidSetting(
            "the module is in training mode, where batch norm and dropout make an answer depend on more than its "
            "image; call module.eval() first."
        )
    if any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return _ChannelsLast(module)
    return module


class _ChannelsLast:
    """Hands images to a convolutional network channels-last in memory, which is up to twice as fast on a CPU.

    Shapes and numbers stay what they are, only strides change. A network that cannot have it, since it calls `view` on
    its input, gets them as they came.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._bearable = True

    def __call__(self, images: Tensor) -> Any:
        if images.ndim != 4 or not self._bearable:
            return self._module(images)
        try:
            return self._module(_channels_last(images))
        except RuntimeError:
            answer = self._module(images)
            self._bearable = False
            return answer


def _channels_last(images: Tensor) -> Tensor:
    _, channels, height, width = images.shape
    # With one channel torch counts a plain tensor as channels-last, and picks the slow kernel by its strides.
    strides = (channels * height * width, 1, width * channels, channels)
    return torch.empty_strided(images.shape, strides, dtype=images.dtype, device=images.device).copy_(images)


def _is_estimator(thing: object) -> bool:
    base = sys.modules.get("sklearn.base")  # without it imported there is no estimator
    return base is not None and isinstance(thing, base.BaseEstimator)


def _of_estimator(estimator: Any) -> Predict:
    """Return a function that flattens images for an estimator and returns its labels."""
    classes = getattr(estimator, "classes_", None)
    name = type(estimator).__name__
    if classes is None:
        raise InvalidSetting(f"{name} is no fitted classifier: it has no classes_; fit it first.")
    if list(classes) != list(range(len(classes))):
        raise InvalidSetting(
            f"{name} must be fitted on the labels 0 to {len(classes) - 1}, got {brief(list(classes))}; "
            "sklearn.preprocessing.LabelEncoder makes them so."
        )

    def predict(images: Tensor) -> Tensor:
        return torch.as_tensor(estimator.predict(images.flatten(1).cpu().numpy()))

    return predict
