"""Callbacks: what looks on while `minimize` runs."""

from zotoolkit.callbacks.base import Callback
from zotoolkit.callbacks.early_stop import EarlyStop
from zotoolkit.callbacks.history import History
from zotoolkit.callbacks.tensorboard import TensorBoard

__all__ = ["Callback", "EarlyStop", "History", "TensorBoard"]
