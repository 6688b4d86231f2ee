"""Classifiers that can only be queried, behind one interface: torch, scikit-learn, ONNX Runtime, HTTP, any callable."""

from zotoolkit.query_models.adapt import as_query_model
from zotoolkit.query_models.answers import Access, Answers
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.budget import QueryBudget
from zotoolkit.query_models.callable_model import CallableModel
from zotoolkit.query_models.input_spec import InputSpec
from zotoolkit.query_models.ledger import Counts, Ledger
from zotoolkit.query_models.rate import Clock, RateLimit
from zotoolkit.query_models.retries import BatchFailed, RetryPolicy
from zotoolkit.query_models.sklearn_model import SklearnModel
from zotoolkit.query_models.torch_model import TorchModel

__all__ = [
    "Access",
    "Answers",
    "BatchFailed",
    "CallableModel",
    "Clock",
    "Counts",
    "InputSpec",
    "Ledger",
    "QueryBudget",
    "QueryModel",
    "RateLimit",
    "RetryPolicy",
    "SklearnModel",
    "TorchModel",
    "as_query_model",
]
