"""One call for every kind of classifier."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from tests.query_models.models import SHAPE, Scripted, network
from zotoolkit.errors import InvalidSetting, UnknownSetting
from zotoolkit.query_models import CallableModel, SklearnModel, TorchModel, as_query_model


def test_each_gets_its_adapter() -> None:
    tree = DecisionTreeClassifier().fit(np.eye(3), [0, 1, 2])
    assert isinstance(as_query_model(network(), input=SHAPE), TorchModel)
    assert isinstance(as_query_model(tree), SklearnModel)
    function = as_query_model(tree.predict_proba, access="proba", classes=3, input=(3,), batch_size=2)
    assert isinstance(function, CallableModel)
    assert function.batch_size == 2
    assert torch.equal(function.predict(torch.eye(3)), as_query_model(tree).predict(torch.eye(3)))


def test_optional_libraries_are_imported_when_they_are_needed() -> None:
    program = (
        "import sys, zotoolkit.query_models; sys.exit(str({'httpx', 'onnxruntime', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "set()", run.stderr


def test_a_query_model_stays_itself() -> None:
    model = Scripted()
    assert as_query_model(model) is model
    with pytest.raises(InvalidSetting, match="has its settings already; it cannot take batch_size"):
        as_query_model(model, batch_size=3)


@pytest.mark.parametrize("thing", [3, "model.pt", None, [1, 2], "ftp://example.org"])
def test_what_is_no_classifier(thing: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"a classifier must be a torch module, a scikit-learn estimator, .*, got"):
        as_query_model(thing)


def test_settings_that_are_missing_or_unknown() -> None:
    with pytest.raises(UnknownSetting, match=r"TorchModel: missing 1 required .* 'input'"):
        as_query_model(network())
    with pytest.raises(UnknownSetting, match=r"CallableModel: missing 3 required .* 'access'"):
        as_query_model(len)
    with pytest.raises(UnknownSetting, match=r"TorchModel: .*unexpected .* 'batchsize'"):
        as_query_model(network(), input=SHAPE, batchsize=3)
