"""Does an objective keep its promises? After gymnasium's `check_env`."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import (
    ContractViolation,
    ContractWarning,
    InputMutated,
    InvalidSpace,
    InvalidStart,
    InvalidValues,
    brief,
)
from zotoolkit.laws import AnyLaw, Law, Segmented, law_of
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seeds, torch_generator
from zotoolkit.spaces import Bounds, bounds_of, check_space, check_start
from zotoolkit.status import Status
from zotoolkit.wrappers.base import Wrapper

_SEED, _OTHER_SEED = 2_024, 77
_CONTEXT, _OTHER_CONTEXT = 3, 1_000_003
_POINTS, _INDEX, _SCALES = 1, 2, 3
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


def check_objective(
    objective: BlackBoxObjective, *, queries: int = 4, radius: float = 1e-2, tolerance: float | None = None
) -> None:
    """Check that an objective keeps the promises that solvers rely on.

    Asks at the start point, around it and, in a bounded space, anywhere: at most about 40 times `queries` points in
    all, 13 times without fast paths. Afterwards the objective has been reset to the seed that it had; queries
    spent are spent.

    What is allowed but seldom meant gives a `ContractWarning`, to be silenced like any warning:
    `warnings.simplefilter("ignore", zotoolkit.errors.ContractWarning)`.

    Args:
        objective: What to check.
        queries: Points asked together, at least 2.
        radius: How far from the start point most of them lie, in units of x.
        tolerance: How far losses may differ, relative to the largest of the batch, between a fast path and `evaluate`
            and between rows asked together and apart; by default 1e-9 in float64 and 2e-5 in float32.

    Raises:
        ContractViolation: If a promise is broken; one sentence says which, and where.

    Examples:
        >>> import zotoolkit
        >>> check_objective(zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2))
    """
    checker = ObjectiveChecker(objective, queries, radius, tolerance)
    checker.kind()
    seed = objective.seed
    before = _global_random_state()
    try:
        checker.space()
        checker.reset()
        checker.answers()
        checker.inputs()
        checker.purity()
        checker.rows()
        for batch in checker.structured():
            checker.fast_path(batch)
        checker.reports()
    finally:
        objective.reset(seed=seed)
    if _global_random_state() != before:
        _warn(
            "the objective drew from, or seeded, a global random generator; draw from "
            "zotoolkit.seeding.torch_generator(self.seed, context) instead"
        )


@dataclass
class ObjectiveChecker:
    """The promises one by one, for test suites that report each; the arguments are those of `check_objective`."""

    objective: BlackBoxObjective
    queries: int = 4
    radius: float = 1e-2
    tolerance: float | None = None
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        check_count(self.queries, "queries", least=2)
        check_positive(self.radius, "radius")
        if self.tolerance is not None:
            check_positive(self.tolerance, "tolerance")

    # The promises ---------------------------------------------------------------------------------------------------

    def kind(self) -> None:
        """It is a BlackBoxObjective, initialised, whose `step` is the one that counts and reports."""
        objective, name = self.objective, type(self.objective).__name__
        if not isinstance(objective, BlackBoxObjective):
            sentence = "an objective is a zotoolkit.BlackBoxObjective; zotoolkit.from_callable makes one of a function"
            raise ContractViolation(f"{sentence}, got {brief(objective)}.")
        initialised = {"space", "seed", "queries", "metadata"} <= set(vars(objective))
        promise(initialised, f"{name}.__init__ must call super().__init__(space)")
        promise(type(self.objective).step is BlackBoxObjective.step, f"{name} must not override step, which is final")

    def space(self) -> None:
        """The space is a one-axis floating-point box."""
        try:
            check_space(self.objective.space)
        except InvalidSpace as error:
            raise ContractViolation(str(error)) from error

    def reset(self) -> None:
        """`reset` takes a seed and a start point, and returns the start point of that seed, fresh and inside."""
        objective = self.objective
        starts: list[Tensor] = []
        for seed in (_SEED, None, _OTHER_SEED, _SEED):
            answer = objective.reset(seed=seed)
            promise(
                isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict),
                f"reset must return (x0, info), got {brief(answer)}",
            )
            x0 = answer[0]
            promise(isinstance(x0, Tensor), f"reset must return the start point as a tensor, got {brief(x0)}")
            promise(
                x0.dtype == objective.dtype and x0.device.type == objective.device.type,
                f"the start point must have the space's dtype {objective.dtype} on {objective.device}, "
                f"got {x0.dtype} on {x0.device}",
            )
            try:
                check_start(x0, objective.space)
            except InvalidStart as error:
                raise ContractViolation(f"the start point must fit the space: {error}") from error
            expected = _OTHER_SEED if seed == _OTHER_SEED else _SEED
            promise(objective.seed == expected, f"after reset(seed={seed}) objective.seed must be {expected}")
            promise(objective.queries == 0, f"reset must zero the count of queries, got {objective.queries}")
            starts.append(x0.clone())
            x0.add_(1)  # what a caller does to its copy must not show in the next one
        promise(
            torch.equal(starts[0], starts[1]) and torch.equal(starts[0], starts[3]),
            "reset must return the same start point for the same seed, as fresh memory",
        )
        given = bounds_of(objective.space, objective.device).project(starts[0] + self.radius)
        told, _ = objective.reset(options={"x0": given})
        promise(torch.equal(told, given), "reset(options={'x0': point}) must start at that point")

    def answers(self) -> None:
        """`evaluate` answers points inside the space with one floating-point loss each; the start has a finite one."""
        x0 = self._start()
        values, status = self._step(DenseBatch.at(x0[None], _CONTEXT))
        if status[0] != Status.OK:
            self._warn(f"the loss at the start point is {values[0].item()}, status {Status(int(status[0])).name}")
        batch = self._points()
        count = self.objective.queries
        values, _, _, info = self.objective.step(batch)
        status, errors = info["status"], info["errors"]
        reason = next(iter(errors.values()), "")
        promise(len(errors) < len(batch), f"all {len(batch)} queries failed, the first one with {reason!r}")
        if self.objective.queries - count > len(batch):
            self._warn(f"{len(batch)} queries were counted as {self.objective.queries - count}")
        ok = values[status == Status.OK]
        if len(ok) > 1 and bool((ok == ok[0]).all()):
            self._warn(f"the loss is {ok[0].item():g} at each of {len(ok)} points")
        if self.objective.dtype == torch.float64 and values.dtype != torch.float64:
            self._warn(f"points are float64 but losses {values.dtype}: finite differences lose digits")

    def inputs(self) -> None:
        """Nothing writes into its input, whether through torch or through NumPy."""
        objective = self.objective
        points = self._points().points()
        kept = points.clone()
        _run(lambda: objective.evaluate(points, _CONTEXT))
        promise(torch.equal(points, kept), "evaluate must not write into x; work on x.clone()")
        for batch in self.structured():
            parts = [getattr(batch, name) for name in ("base", "scale", *batch._per_query)]
            copies = [part.clone() for part in parts]
            name = _path(batch)
            _run(lambda name=name, batch=batch: getattr(objective, name)(batch))
            untouched = all(torch.equal(part, copy) for part, copy in zip(parts, copies, strict=True))
            promise(untouched, f"{name} must not write into batch.base or anything else of the batch")

    def purity(self) -> None:
        """For its seed, it is a pure function of (x, context), to the bit, whatever was asked in between."""
        batch, other = self._points(), self._points(_OTHER_CONTEXT)
        self.objective.reset(seed=_SEED)
        first = self._step(batch)
        elsewhere = self._step(other)
        again = self._step(batch)
        self._same(first, again, "for its seed, evaluate must be a pure function of (x, context), to the bit", 0.0)
        self.objective.reset(seed=_OTHER_SEED)
        self._step(batch)
        self.objective.reset(seed=_SEED)
        sentence = "after reset(seed=...) with the same seed, evaluate must answer the same, to the bit"
        self._same(first, self._step(batch), sentence, 0.0)
        noisy = not torch.equal(first[0].nan_to_num(), elsewhere[0].nan_to_num())
        if noisy and self.objective.noise_free(batch.points()) is None:
            self._warn(
                "the loss depends on the context but noise_free returns None: reports cannot compare solvers "
                "without the noise"
            )

    def rows(self) -> None:
        """Rows do not depend on their order, nor on which others are asked with them."""
        batch = self._points()
        together = self._step(batch)
        order = torch.arange(len(batch) - 1, -1, -1)
        values, status = self._step(batch[order.to(batch.device)])
        sentence = "a row's loss must not depend on its place among the rows"
        self._same(together, (values.flip(0), status.flip(0)), sentence, self._limit(values))
        for size in sorted({1, max(2, len(batch) - 1)}):
            parts = [self._step(part) for part in batch.split(size)]
            apart = torch.cat([values for values, _ in parts]), torch.cat([status for _, status in parts])
            sentence = f"a row's loss must not depend on which others are asked with it (here chunks of {size})"
            self._same(together, apart, sentence, self._limit(values))

    def fast_path(self, batch: QueryBatch) -> None:
        """A structured batch has the losses of its points."""
        fast = self._step(batch)
        dense = self._step(DenseBatch.at(batch.points(), batch.context))
        name, law = _path(batch), f" ({law_of(batch.law).value} directions)" if isinstance(batch, SeededBatch) else ""
        self._same(dense, fast, f"{name} must agree with evaluate on batch.points(){law}", self._limit(dense[0]))

    def reports(self) -> None:
        """Costs, metrics and the noise-free loss have the promised form, are pure, and are no queries."""
        objective, batch = self.objective, self._points()
        count = objective.queries
        points = batch.points()
        truths = [objective.noise_free(points) for _ in range(2)]
        for truth in truths:
            promise(
                truth is None
                or (isinstance(truth, Tensor) and truth.shape == (len(batch),) and truth.is_floating_point()),
                f"noise_free must return None or ({len(batch)},) floating-point losses, got {brief(truth)}",
            )
        promise(_equal(*truths), "noise_free must be a pure function of x, to the bit")
        found = [objective.metrics(points[0]) for _ in range(2)]
        for metrics in found:
            promise(isinstance(metrics, dict), f"metrics must return a dict, got {brief(metrics)}")
            for name, figure in metrics.items():
                plain = isinstance(figure, (int, float)) and not isinstance(figure, bool)
                promise(
                    isinstance(name, str) and plain, f"metrics must map names to floats, got {name!r}: {brief(figure)}"
                )
        promise(str(found[0]) == str(found[1]), f"metrics must be a pure function of x, got {found[0]} and {found[1]}")
        costs = objective.costs(batch)
        figures = list(costs.values()) if isinstance(costs, dict) else [None]
        fine = all(isinstance(cost, (int, float)) and 0 <= cost < math.inf for cost in figures)
        promise(
            fine and "forward_equivalents" in costs,
            f"costs must map names to finite figures >= 0, 'forward_equivalents' among them, got {brief(costs)}",
        )
        promise(objective.queries == count, "noise_free, metrics and costs are no queries and must not be counted")
        self._step(batch)
        count, state = objective.queries, objective.state_dict()
        objective.reset(seed=_SEED)
        objective.load_state_dict(state)
        promise(objective.queries == count, "load_state_dict must bring back the count of queries in state_dict")

    # What is asked --------------------------------------------------------------------------------------------------

    def structured(self) -> Iterator[QueryBatch]:
        """Yield coordinate and seeded batches inside the space, of kinds that the objective has fast paths for."""
        bounds = bounds_of(self.objective.space, self.objective.device)
        x0, count = self._start(), self.queries
        if _overrides(self.objective, "evaluate_coordinates"):
            index = torch.randint(len(x0), (count,), generator=torch_generator(_SEED, _INDEX)).to(x0.device)
            index = torch.cat((index[:1], index))  # one coordinate twice, with two scales
            up, down = bounds.high[index] - x0[index], x0[index] - bounds.low[index]
            scale = torch.where(up >= down, up.clamp(max=self.radius), -down.clamp(max=self.radius))
            scale[0] = 0.0
            yield CoordinateBatch(base=x0, scale=scale, context=_CONTEXT, index=index)
        if _overrides(self.objective, "evaluate_seeded"):
            halves = tuple(sorted({0, (len(x0) + 1) // 2, len(x0)}))
            for law in (*Law, Segmented(Law.NORMAL, halves)):
                yield self._seeded(x0, bounds, law, None)
            yield self._seeded(x0, bounds, Law.RADEMACHER, torch.arange(0, len(x0), 2, device=x0.device))

    def _seeded(self, x0: Tensor, bounds: Bounds, law: AnyLaw, alive: Tensor | None) -> SeededBatch:
        narrowest = float((bounds.high - bounds.low).min())
        radius = min(self.radius, narrowest / (4 * law.bound))
        base = bounds.project(x0, radius * law.bound)
        scale = torch.rand(self.queries, generator=torch_generator(_SEED, _SCALES), dtype=torch.float64) * 2 - 1
        scale = (radius * scale).to(x0)
        scale[0] = 0.0
        seed = derive_seeds(_SEED, _CONTEXT, self.queries, x0.device)
        return SeededBatch(base=base, scale=scale, context=_CONTEXT, seed=seed, law=law, alive=alive)

    def _start(self) -> Tensor:
        return self.objective.reset(seed=_SEED)[0]

    def _points(self, context: int = _CONTEXT) -> DenseBatch:
        """Around the start point, and, where the box is bounded, every other one anywhere in it."""
        x0 = self._start()
        low, high = bounds_of(self.objective.space)
        generator = torch_generator(_SEED, _POINTS)
        shape = (self.queries, len(x0))
        near = x0.cpu() + self.radius * torch.randn(shape, generator=generator, dtype=torch.float64)
        share = torch.rand(shape, generator=generator, dtype=torch.float64)
        anywhere = low * (1 - share) + high * share
        anywhere = torch.where(torch.isfinite(anywhere), anywhere, near)
        odd = torch.arange(self.queries)[:, None] % 2 == 1
        points = torch.where(odd, anywhere, near).to(low.dtype)
        return DenseBatch.at(torch.clamp(points, low, high).to(x0), context)

    # How answers are compared ---------------------------------------------------------------------------------------

    def _step(self, batch: QueryBatch) -> tuple[Tensor, Tensor]:
        """Return values and status, if the answer has the right form and there is one."""
        try:
            values, _, _, info = self.objective.step(batch)
        except (InvalidValues, InputMutated) as error:
            raise ContractViolation(str(error)) from error
        status = info["status"]
        promise(
            not bool((status == Status.SKIPPED).any()),
            "the check ran out of its query budget; check the objective without a budget",
        )
        return values, status

    def _same(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], sentence: str, limit: float) -> None:
        failed = ((first[1] == Status.FAILED) | (second[1] == Status.FAILED)).to(first[0].device)
        if not torch.equal(first[1] == Status.FAILED, second[1] == Status.FAILED):
            self._warn("a query failed once and was answered another time; zotoolkit's Retry wrapper asks again")
        a, b = first[0][~failed].double(), second[0][~failed].double()
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(nan=math.inf)
        if len(gap) and float(gap.max()) > limit:
            i = int(gap.argmax())
            allowed = f" more than {limit:.2g}" if limit else ""
            raise ContractViolation(f"{sentence}, but losses {a[i].item()!r} and {b[i].item()!r} differ{allowed}.")

    def relative_tolerance(self, values: Tensor) -> float:
        """How far losses of this dtype may differ, relative to the largest."""
        if self.tolerance is not None:
            return self.tolerance
        return max(_TOLERANCE.get(values.dtype, 2e-2), _TOLERANCE[self.objective.dtype])

    def _limit(self, values: Tensor) -> float:
        finite = values[torch.isfinite(values)]
        return self.relative_tolerance(values) * float(finite.abs().max()) if len(finite) else 0.0

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            _warn(sentence)


def promise(kept: bool, sentence: str) -> None:
    """Raise ContractViolation with the sentence unless the promise is kept."""
    if not kept:
        raise ContractViolation(f"{sentence}.")


def _warn(sentence: str) -> None:
    warnings.warn(f"{sentence}.", ContractWarning, stacklevel=4)


def _path(batch: QueryBatch) -> str:
    return "evaluate_coordinates" if isinstance(batch, CoordinateBatch) else "evaluate_seeded"


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first.isnan(), second.isnan()) and torch.equal(first.nan_to_num(), second.nan_to_num())


def _run(call: Callable[[], object]) -> None:
    """Call what may raise: only what it does to its input matters here."""
    try:
        with torch.no_grad():
            call()
    except InputMutated as error:
        raise ContractViolation(str(error)) from error
    except Exception:
        return  # `answers` tells which queries fail


def _overrides(objective: object, name: str) -> bool:
    """Whether the objective, or one that it wraps, has a method of its own."""
    while isinstance(objective, BlackBoxObjective):
        if getattr(type(objective), name) not in (getattr(BlackBoxObjective, name), getattr(Wrapper, name)):
            return True
        objective = getattr(objective, "objective", None)
    return False


def _global_random_state() -> tuple[object, ...]:
    numbers = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - looked at, never drawn from
    return bytes(torch.get_rng_state().numpy()), bytes(numbers["key"]), numbers["pos"], random.getstate()
