"""Wrappers: an objective around an objective, one file each."""

from zotoolkit.wrappers.base import Wrapper

__all__ = ["Wrapper"]
