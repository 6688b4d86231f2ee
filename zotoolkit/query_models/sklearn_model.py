"""A scikit-learn estimator, or anything with its methods, as a query model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice
from zotoolkit.errors import InvalidAnswers, InvalidSetting, brief
from zotoolkit.query_models.answers import ACCESSES, Access
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.callable_model import as_array
from zotoolkit.query_models.input_spec import InputSpec

Method = Literal["predict_proba", "decision_function", "predict"]
_METHODS: dict[str, Method] = {"proba": "predict_proba", "logits": "decision_function", "label": "predict"}


class SklearnModel(QueryModel):
    """Asks a fitted estimator about flattened images.

    Labels are positions in `classes_`: an estimator fitted on labels "cat" and "dog" answers 0 and 1 here. A binary
    `decision_function`, one number an image, becomes the two logits (0, d).

    Args:
        estimator: Fitted, with `classes_` and at least one of predict_proba, decision_function and predict.
        input: Shape and range of the images; by default flat ones of `n_features_in_` numbers in [0, 1].
        access: "proba" asks predict_proba, "logits" decision_function, "label" predict. None takes predict_proba where
            there is one, else predict.
        flatten: Whether the estimator takes `(k, features)` rather than `(k, *shape)`.
        **settings: As of `QueryModel`.

    Raises:
        InvalidSetting: If the estimator is not fitted, lacks the method, or takes another number of features.

    Examples:
        >>> import torch
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> estimator = KNeighborsClassifier(1).fit([[0, 0], [1, 1]], ["dark", "light"])
        >>> model = SklearnModel(estimator, input=(1, 1, 2))
        >>> model.access, model.predict(torch.tensor([[[[0.9, 0.7]]]])).tolist(), list(map(str, model.names))
        ('proba', [1], ['dark', 'light'])
    """

    def __init__(
        self,
        estimator: Any,
        *,
        input: InputSpec | tuple[int, ...] | None = None,
        access: Access | None = None,
        flatten: bool = True,
        **settings: Any,
    ) -> None:
        if access is None:
            access = "proba" if _has(estimator, "predict_proba") else "label"
        method = _METHODS[check_choice(access, ACCESSES, "access")]
        if not _has(estimator, method):
            there = [name for name in _METHODS.values() if _has(estimator, name)]
            raise InvalidSetting(
                f"access={access!r} needs {method}, which {brief(estimator)} does not have; "
                f"it has {', '.join(there) or 'none of the methods of a classifier'}."
            )
        names = getattr(estimator, "classes_", None)
        if names is None or np.ndim(names) != 1:
            raise InvalidSetting(
                f"{brief(estimator)} has no list of classes in `classes_`; call fit first, and take an estimator that "
                "classifies with one label an image."
            )
        features = getattr(estimator, "n_features_in_", None)
        if input is None and features is None:
            raise InvalidSetting("input must be given: the estimator does not say how many features it takes.")
        spec = InputSpec((int(features),)) if input is None and features is not None else InputSpec.of(input or ())
        if flatten and features is not None and spec.size != features:
            raise InvalidSetting(
                f"the estimator was fitted on {features} features, but images of shape {spec.shape} have {spec.size}."
            )
        settings.setdefault("name", type(estimator).__name__)
        super().__init__(access=access, classes=len(names), input=spec, **settings)
        self.estimator = estimator
        self.names = np.asarray(names)
        self._method = method
        self._flatten = flatten
        self._order = np.argsort(self.names, kind="stable")

    @override
    def evaluate(self, images: Tensor) -> object:
        array = as_array(images)
        if self._flatten:
            array = array.reshape(len(array), -1)
        if hasattr(self.estimator, "feature_names_in_"):
            array = self._named(array)
        answer = np.asarray(getattr(self.estimator, self._method)(array))
        if self._method == "predict":
            return self._positions(answer)
        if self._method == "decision_function" and answer.ndim == 1 and self.classes == 2:
            return np.stack((np.zeros_like(answer), answer), axis=1)
        return answer

    def _named(self, array: np.ndarray) -> Any:
        """Return a table with the columns that the estimator was fitted on, so that it does not warn."""
        import pandas as pd

        return pd.DataFrame(array, columns=list(self.estimator.feature_names_in_))

    def _positions(self, labels: np.ndarray) -> np.ndarray:
        """Return where `(k,)` labels stand in `classes_`."""
        if labels.ndim != 1:
            raise InvalidAnswers(f"{self.name} must predict one label an image, got {brief(labels)}.")
        if not len(labels):
            return np.zeros(0, dtype=np.int64)
        places = np.searchsorted(self.names, labels, sorter=self._order)
        places = self._order[np.minimum(places, len(self.names) - 1)]
        if bool((strangers := self.names[places] != labels).any()):
            raise InvalidAnswers(f"{self.name} predicted {labels[strangers][0]!r}, which is none of its classes_.")
        return places.astype(np.int64)


def _has(estimator: Any, method: str) -> bool:
    # Some estimators have the method only in some settings, and say so by an AttributeError.
    return callable(getattr(estimator, method, None))
