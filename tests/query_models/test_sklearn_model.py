"""A scikit-learn estimator as a query model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from zotoolkit.errors import InvalidAnswers, InvalidSetting
from zotoolkit.query_models import InputSpec, SklearnModel, TorchModel

X = np.random.default_rng(0).random((150, 12)).astype(np.float32)
Y = (X @ np.random.default_rng(1).normal(size=(12, 3))).argmax(axis=1)
IMAGES = torch.from_numpy(X).reshape(-1, 3, 2, 2)


@pytest.mark.parametrize(
    "estimator",
    [RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=3), LogisticRegression()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_probabilities_are_those_of_the_estimator(estimator: Any) -> None:
    estimator.fit(X, Y)
    model = SklearnModel(estimator, input=(3, 2, 2))
    assert model.access == "proba"
    np.testing.assert_allclose(model.scores(IMAGES).numpy(), estimator.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(IMAGES).numpy(), estimator.predict(X))
    assert model.input == InputSpec((3, 2, 2))


@pytest.mark.parametrize("names", [["b", "a", "c"], [30, 10, -5], [3.0, 1.0, 2.0]])
@pytest.mark.parametrize("access", ["proba", "label"])
def test_labels_are_positions_in_the_estimators_classes(names: list[Any], access: Any) -> None:
    wanted = np.array(names)[Y]
    model = SklearnModel(DecisionTreeClassifier(random_state=0).fit(X, wanted), access=access)
    labels = model.predict(torch.from_numpy(X))
    assert (model.names[labels.numpy()] == wanted).all()
    assert model.classes == 3


def test_estimators_without_probabilities_answer_with_labels() -> None:
    for estimator in (RidgeClassifier(), LinearSVC(), SVC()):
        assert SklearnModel(estimator.fit(X, Y)).access == "label"


@pytest.mark.parametrize("count", [2, 3])
def test_decision_functions_are_logits(count: int) -> None:
    estimator = (SVC() if count == 2 else LogisticRegression()).fit(X, Y % count)
    model = SklearnModel(estimator, access="logits")
    scores = model.scores(torch.from_numpy(X))
    given = estimator.decision_function(X)
    if count == 2:
        np.testing.assert_allclose((scores[:, 1] - scores[:, 0]).numpy(), given, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.predict(torch.from_numpy(X)).numpy(), estimator.predict(X))


def test_pipelines_that_write_into_their_input_do_not_reach_the_images() -> None:
    estimator = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(X.copy(), Y)
    images = torch.from_numpy(X.copy())
    model = SklearnModel(estimator)
    first = model.predict(images)
    assert torch.equal(images, torch.from_numpy(X))
    assert torch.equal(first, model.predict(images))


def test_estimators_fitted_on_tables_do_not_warn() -> None:
    table = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(12)])
    estimator = LogisticRegression().fit(table, Y)
    np.testing.assert_array_equal(
        SklearnModel(estimator).predict(torch.from_numpy(X)).numpy(), estimator.predict(table)
    )


def test_estimators_of_whole_images() -> None:
    class Whole:
        classes_ = np.arange(2)

        def predict(self, x: np.ndarray) -> np.ndarray:
            assert x.shape[1:] == (3, 2, 2)
            return (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)

    model = SklearnModel(Whole(), input=(3, 2, 2), flatten=False)
    assert set(model.predict(IMAGES).tolist()) == {0, 1}


def test_bad_estimators_are_refused() -> None:
    fitted = DecisionTreeClassifier().fit(X, Y)
    with pytest.raises(InvalidSetting, match="has no list of classes in `classes_`; call fit first"):
        SklearnModel(DecisionTreeClassifier())
    with pytest.raises(InvalidSetting, match=r"needs decision_function, which .* it has predict_proba, predict"):
        SklearnModel(fitted, access="logits")
    with pytest.raises(InvalidSetting, match="none of the methods of a classifier"):
        SklearnModel(object())
    with pytest.raises(InvalidSetting, match=r"fitted on 12 features, but images of shape \(4, 4\) have 16"):
        SklearnModel(fitted, input=(4, 4))
    with pytest.raises(InvalidSetting, match="access must be one of"):
        SklearnModel(fitted, access="labels")  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match=r"takes an estimator|one label an image"):
        SklearnModel(RandomForestClassifier(2).fit(X, np.stack((Y, Y), axis=1)))


class Strange:
    classes_ = np.array(["a", "b"])

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, x: np.ndarray) -> Any:
        return self.answer


def test_what_an_estimator_must_not_answer() -> None:
    images = torch.zeros(2, 3)
    with pytest.raises(InvalidSetting, match="input must be given"):
        SklearnModel(Strange(None))
    with pytest.raises(InvalidAnswers, match=r"predicted .*'z'.*, which is none of its classes_"):
        SklearnModel(Strange(np.array(["a", "z"])), input=(3,)).ask(images)
    with pytest.raises(InvalidAnswers, match="must predict one label an image"):
        SklearnModel(Strange(np.array([["a"], ["b"]])), input=(3,)).ask(images)
    with pytest.raises(InvalidAnswers, match="answered 1 labels to 2 images"):
        SklearnModel(Strange(np.array(["a"])), input=(3,)).ask(images)
    assert not isinstance(SklearnModel(Strange(np.array(["a", "b"])), input=(3,)), TorchModel)
