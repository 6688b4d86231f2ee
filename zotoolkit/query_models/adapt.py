"""One call that makes a query model of whatever classifier one has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from zotoolkit.errors import InvalidSetting, UnknownSetting, brief
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.callable_model import CallableModel
from zotoolkit.query_models.sklearn_model import SklearnModel
from zotoolkit.query_models.torch_model import TorchModel


def as_query_model(thing: Any, **settings: Any) -> QueryModel:
    """Return a query model behind which the classifier stands.

    | what it is | becomes |
    |---|---|
    | a query model | itself |
    | a torch module | `TorchModel` |
    | an ONNX Runtime session, or the path of an `.onnx` file | `OnnxModel` |
    | an http or https address | `HttpModel` |
    | an object with predict_proba, decision_function or predict | `SklearnModel` |
    | any other callable | `CallableModel` |

    Args:
        thing: The classifier.
        **settings: Of that class, such as input, access, classes, batch_size or budget.

    Raises:
        InvalidSetting: If it is none of these, or a setting is out of its range.
        UnknownSetting: If the class does not have a setting, or lacks one that it needs.

    Examples:
        >>> model = as_query_model(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), input=(1, 2, 2), batch_size=64)
        >>> model
        <TorchModel 'Sequential': logits, 3 classes, (1, 2, 2)>
    """
    if isinstance(thing, QueryModel):
        if settings:
            raise InvalidSetting(f"{thing!r} has its settings already; it cannot take {', '.join(sorted(settings))}.")
        return thing
    kind = _kind(thing)
    try:
        return kind(thing, **settings)
    except TypeError as error:
        if isinstance(error, UnknownSetting) or "argument" not in str(error):
            raise
        said = str(error).replace(f"{kind.__name__}.__init__() ", "")
        raise UnknownSetting(f"{kind.__name__}: {said}.") from error


def _kind(thing: Any) -> Any:
    if isinstance(thing, nn.Module):
        return TorchModel
    if isinstance(thing, str) and thing.lower().startswith(("http://", "https://")):
        from zotoolkit.query_models.http_model import HttpModel

        return HttpModel
    path = isinstance(thing, (str, os.PathLike)) and Path(thing).suffix.lower() == ".onnx"
    if path or type(thing).__module__.partition(".")[0] == "onnxruntime":
        from zotoolkit.query_models.onnx_model import OnnxModel

        return OnnxModel
    if any(callable(getattr(thing, name, None)) for name in ("predict_proba", "decision_function", "predict")):
        return SklearnModel
    if callable(thing):
        return CallableModel
    raise InvalidSetting(
        f"a classifier must be a torch module, a scikit-learn estimator, an ONNX Runtime session or .onnx file, an "
        f"http(s) address, a callable or a QueryModel, got {brief(thing)}."
    )
