"""Classifiers that can only be queried, behind one interface: torch, scikit-learn, ONNX Runtime, HTTP, any callable."""

from zotoolkit.query_models.adapt import as_query_model
from zotoolkit.query_models.answers import Access, Answers
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.budget import CERTIFICATION, DRIFT, TRAINING, QueryBudget
from zotoolkit.query_models.callable_model import CallableModel
from zotoolkit.query_models.drift import DriftProbe, probe_images
from zotoolkit.query_models.estimate import QueryEstimate, estimate_queries
from zotoolkit.query_models.http_model import HttpModel, Timeouts
from zotoolkit.query_models.input_spec import InputSpec
from zotoolkit.query_models.ledger import Counts, Ledger
from zotoolkit.query_models.onnx_model import OnnxModel
from zotoolkit.query_models.rate import Clock, RateLimit
from zotoolkit.query_models.retries import BatchFailed, RetryPolicy
from zotoolkit.query_models.server import ModelServer, serve
from zotoolkit.query_models.sklearn_model import SklearnModel
from zotoolkit.query_models.torch_model import TorchModel

__all__ = [
    "CERTIFICATION",
    "DRIFT",
    "TRAINING",
    "Access",
    "Answers",
    "BatchFailed",
    "CallableModel",
    "Clock",
    "Counts",
    "DriftProbe",
    "HttpModel",
    "InputSpec",
    "Ledger",
    "ModelServer",
    "OnnxModel",
    "QueryBudget",
    "QueryEstimate",
    "QueryModel",
    "RateLimit",
    "RetryPolicy",
    "SklearnModel",
    "Timeouts",
    "TorchModel",
    "as_query_model",
    "estimate_queries",
    "probe_images",
    "serve",
]
