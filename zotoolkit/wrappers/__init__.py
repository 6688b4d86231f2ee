"""Wrappers: an objective around an objective, one file each; and Gymnasium environments both ways."""

from zotoolkit.wrappers.base import Wrapper
from zotoolkit.wrappers.budget import BudgetLimit
from zotoolkit.wrappers.cache import Cache
from zotoolkit.wrappers.gym_env import GymEnvAdapter
from zotoolkit.wrappers.noise import Noise
from zotoolkit.wrappers.policy import PolicyObjective, from_env
from zotoolkit.wrappers.record import Record, read_record
from zotoolkit.wrappers.rescale import RescaleSpace
from zotoolkit.wrappers.retry import Retry
from zotoolkit.wrappers.target import TargetReached

__all__ = [
    "BudgetLimit",
    "Cache",
    "GymEnvAdapter",
    "Noise",
    "PolicyObjective",
    "Record",
    "RescaleSpace",
    "Retry",
    "TargetReached",
    "Wrapper",
    "from_env",
    "read_record",
]
