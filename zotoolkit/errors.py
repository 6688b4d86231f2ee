"""Exceptions, one for each cause, so that a caller can catch just the one it can mend.

User mistakes are also `ValueError` or `TypeError`, so code that knows nothing of zotoolkit catches them too.
Every message echoes what was given and says what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from torch import Tensor


class ZotoolkitError(Exception):
    """Base of every exception that zotoolkit raises on purpose."""


class InvalidSetting(ZotoolkitError, ValueError):
    """A hyper-parameter is out of its range, such as mu <= 0 or q = 0."""


class UnknownSetting(ZotoolkitError, TypeError):
    """A keyword that the callee does not have."""


class InvalidSpace(ZotoolkitError, ValueError):
    """A search space that cannot be searched: crossed bounds, no dimension, a dtype that is not floating."""


class InvalidStart(ZotoolkitError, ValueError):
    """A start point of the wrong shape or dtype, with NaN, or outside the space."""


class InvalidBatch(ZotoolkitError, ValueError):
    """A query batch whose parts do not fit together or do not fit the objective."""


class InvalidValues(ZotoolkitError, ValueError):
    """An objective answered with something other than one floating-point loss a query."""


class InputMutated(ZotoolkitError, ValueError):
    """An objective wrote into the points or the base it was handed."""


class ObjectiveFailed(ZotoolkitError, RuntimeError):
    """So many queries in a row failed that carrying on makes no sense."""


class QueryFailed(ZotoolkitError, RuntimeError):
    """A black box did not answer a query, and the caller had asked to be told."""


class BudgetSpent(ZotoolkitError, RuntimeError):
    """More queries were wanted than the budget has left; none of them was sent."""


class NoSecondDerivative(ZotoolkitError, RuntimeError):
    """A zeroth-order gradient was to be differentiated, and it is a constant."""


class InvalidImages(ZotoolkitError, ValueError):
    """Images of another shape or dtype than the classifier takes, or not finite."""


class InvalidAnswers(ZotoolkitError, ValueError):
    """A classifier answered in another form than it was declared to: rows, classes, scores or labels."""


class InvalidLabels(ZotoolkitError, ValueError):
    """True classes of another number, dtype or range than the images and the classifier have."""


class ClassifierFailed(ZotoolkitError, RuntimeError):
    """A classifier answered none of the queries about several images in a row, so carrying on makes no sense."""


class UndecidedAlpha(ZotoolkitError, ValueError):
    """An alpha at which images that were stopped early might have been certified, so their outcome is not known."""


class InvalidState(ZotoolkitError, ValueError):
    """States or parameters that a simulator cannot advance, or an answer of another form than its input."""


class ReferencesMismatch(ZotoolkitError, ValueError):
    """Reference data of other states, parameters or settings than the simulator that is to be corrected."""


class DriftDetected(ZotoolkitError, RuntimeError):
    """A classifier answers its probe inputs otherwise than before, so what was measured in between is void."""


class ContractViolation(ZotoolkitError, ValueError):
    """`check_objective` or `check_solver` found a broken promise."""


class ContractWarning(UserWarning):
    """`check_objective` or `check_solver` found something that is allowed, but seldom meant."""


class DeadLayerWarning(UserWarning):
    """A mask keeps no coordinate of some layer, which then never trains."""


class ScheduleWarning(UserWarning):
    """A budget pays for fewer iterations than the schedule that was asked for."""


class MetricsWarning(UserWarning):
    """Figures of merit could not be had when a run had ended; its result stands without them."""


class PicturesWarning(UserWarning):
    """A problem could not draw its pictures; the results stand without them."""


class RadiusWarning(UserWarning):
    """A radius was asked for that so few samples cannot certify, whatever the classifier answers."""


class CFLWarning(UserWarning):
    """An explicit step carries a signal further than its scheme is stable for."""


class AskTellOrder(ZotoolkitError, RuntimeError):
    """`ask`, `tell` and `reset` were called in an order that has no meaning."""


class SolverFinished(ZotoolkitError, RuntimeError):
    """`ask` was called on a solver that has ended by itself."""


class SolverFailed(ZotoolkitError, RuntimeError):
    """The third-party optimiser behind a solver raised; the message says which and what."""


class InvalidId(ZotoolkitError, ValueError):
    """An id that does not read `Family/Name-vN`."""


class UnknownId(ZotoolkitError, ValueError):
    """No entry of that id is registered."""


class EntryPointFailed(ZotoolkitError, ImportError):
    """A registered entry point could not be imported."""


class CheckpointError(ZotoolkitError, ValueError):
    """Base of everything that is wrong with a checkpoint."""


class CheckpointMissing(CheckpointError, FileNotFoundError):
    """There is no checkpoint where one was asked for."""


class CheckpointExists(CheckpointError, FileExistsError):
    """A new run would overwrite the checkpoint of another one."""


class CheckpointDamaged(CheckpointError):
    """A checkpoint is truncated or its checksum does not fit."""


class CheckpointMismatch(CheckpointError):
    """A checkpoint belongs to another problem, solver, seed or dimension."""


class CheckpointVersion(CheckpointError):
    """A checkpoint was written in a format that this version does not read."""


class ResultsUnwritable(ZotoolkitError, OSError):
    """A results folder cannot be written: read-only, or the disk is full."""


class DataMissing(ZotoolkitError, FileNotFoundError):
    """The files of a data set are not where they were looked for; the message says which to put where."""


class DataDamaged(ZotoolkitError, ValueError):
    """A file of a data set is cut short, of another layout, or holds what it must not; the message names it."""


class ProgramMissing(ZotoolkitError, FileNotFoundError):
    """An executable that is to be run is not there, or may not be run."""


class CaseUnwritable(ZotoolkitError, OSError):
    """The folder that hands states to a program cannot be written: read-only, or the disk is full."""


class MissingExtra(ZotoolkitError, ImportError):
    """A feature needs an optional package that is not installed."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a sentence that names the closest known word, or an empty string.

    Examples:
        >>> did_you_mean("Spere", ["Sphere", "Ackley"])
        " Did you mean 'Sphere'?"
    """
    known = list(known)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    if not close:
        by_lower = {word.lower(): word for word in known}
        close = [by_lower[word] for word in difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)]
    return f" Did you mean {close[0]!r}?" if close else ""


def brief(value: object) -> str:
    """Describe what was given in a few words: shape and dtype of a tensor, a shortened `repr` of the rest.

    Examples:
        >>> import torch
        >>> brief(torch.zeros(2, 3))
        'a tensor of shape (2, 3) and dtype torch.float32'
        >>> brief(1.5)
        '1.5 (float)'
    """
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    shape = getattr(value, "shape", ())
    if hasattr(value, "__array__") and shape:
        return f"an array of shape {tuple(shape)} and dtype {getattr(value, 'dtype', 'unknown')}"
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({type(value).__name__})"
