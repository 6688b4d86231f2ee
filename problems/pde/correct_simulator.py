"""Training what corrects a coarse simulator, which can only be queried, after each of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from problems.pde.candidates import CandidateNetwork
from problems.pde.coupling import Additive, Coupling, Network, Staggered
from problems.pde.measuring import Measures
from problems.pde.pictures.of_correctors import draw_correctors
from problems.pde.references import References, Trajectories
from problems.pde.simulators.base import Simulator
from problems.pde.unrolling import (
    DETACHED,
    ONE_STEP,
    SIMULATOR,
    STATE,
    corrected_rollout,
    loss_with_graph,
    unrolled_losses,
)
from problems.pde.windows import Curriculum, Window, Windows
from zotoolkit.checks import check_choice, check_count, check_device
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import BudgetSpent, InvalidSetting, brief
from zotoolkit.estimators import rounding_mu
from zotoolkit.figures import Drawing
from zotoolkit.inner import InnerAnswer, InnerBatch
from zotoolkit.nn import BlackBoxFunction
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed
from zotoolkit.spaces import make_space

_INIT_DRAW, _DIRECTION_DRAW = 0x9DF, 0x9E0
# Losses bend within about a quarter of unit weights: see `benchmarks/pde_gradient.py`.
_WEIGHT_SCALE = 0.25
_STATE_SCALE = 0.1
# What one operation of a roll-out touches: as much as a core's cache holds, or enough to keep a GPU busy.
_CHUNK_BYTES_CPU, _CHUNK_BYTES_GPU = 1 << 20, 256 << 20

Build = Callable[[], nn.Module]


class CorrectSimulator(BlackBoxObjective):
    """The distance of corrected, unrolled trajectories from reference ones, over the corrector's parameters.

    A query steps W windows of the training data on for m steps, corrects the state after each, and answers with the
    mean square of what is left of the error, in units of the states' standard deviation; see `problems.pde.unrolling`.
    Windows belong to (seed, context), so that all queries of an iteration share them. A candidate that blows up is
    NON_FINITE.

    Beside queries on the parameters, which need nothing of the simulator but its steps, gradients can be had at inner
    places, for `zotoolkit.solvers.inner_gradient.InnerGradientSolver`: "one-step" and "detached" back-propagate through
    the corrector alone, "state" estimates the simulator's Jacobian products by queries, and "simulator" (of one that
    is differentiable) back-propagates through everything.

    Costs are counted as `state_steps` besides queries: states advanced by one step, the unit that simulators are paid
    in. What `metrics` asks is not counted.

    Args:
        simulator: The coarse one. The objective closes it.
        references: What the corrected trajectories shall follow.
        corrector: Builds the network; called once a seed.
        coupling: Where the network sits; by default `Staggered` for staggered velocities, else `Additive`.
        windows: W, stretches of reference trajectories a query.
        unroll: Steps m, or a curriculum such as `((0, 4), (200, 8), (400, 16))`: 4 up to context 199, and so on.
        state_step_budget: State-steps that queries may take in all; None for any number. Queries that it does not cover
            are SKIPPED.
        evaluation_windows: Windows of the longest kind behind `noise_free`, the same always; 0 for none.
        measures: What `metrics` and `final_metrics` tell.
        device: Where states and points live.
        name: For reports.

    Attributes:
        layout: Where each parameter of the corrector stands in a point.
        inner_places: As above.

    Raises:
        InvalidSetting: If a setting is out of range.
        ReferencesMismatch: If the references are not of this simulator's states, parameters or settings.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.make("PDE/Burgers-v0")  # 16 windows of 4 steps, whose first is shared by all queries
        >>> x0, _ = objective.reset(seed=0)
        >>> values, *_, info = objective.step(zotoolkit.DenseBatch.at(x0[None]))
        >>> objective.dim, info["costs"]["state_steps"]
        (89, 64.0)
    """

    def __init__(
        self,
        simulator: Simulator,
        references: References,
        corrector: Build,
        *,
        coupling: Coupling | None = None,
        windows: int = 4,
        unroll: int | Curriculum = 4,
        state_step_budget: int | None = None,
        evaluation_windows: int = 16,
        measures: Measures | None = None,
        device: torch.device | str = "cpu",
        name: str = "corrected simulator",
    ) -> None:
        if not isinstance(simulator, Simulator):
            raise InvalidSetting(
                f"simulator must be a Simulator, got {brief(simulator)}; problems.pde.simulators.from_step makes one "
                "of a function."
            )
        if not isinstance(references, References):
            raise InvalidSetting(f"references must be References, got {brief(references)}.")
        if isinstance(corrector, nn.Module) or not callable(corrector):
            raise InvalidSetting(
                f"corrector must be a function that builds a network, got {brief(corrector)}; for a network that there "
                "is already: lambda: copy.deepcopy(network)."
            )
        references.check(simulator)
        device = check_device(device)
        self.simulator, self._build = simulator, corrector
        self._module, self._built_for = self._built(0).to(device), 0
        self._network = CandidateNetwork(self._module)
        self.layout = self._network.layout
        super().__init__(make_space(self.layout.dim, dtype=self.layout.dtype), device=device)
        self.references = references.to(self.dtype).to(device)
        self.coupling: Coupling = _default_coupling(self.references) if coupling is None else coupling
        if not isinstance(self.coupling, Coupling):
            raise InvalidSetting(f"coupling must have `inputs` and `add`, got {brief(coupling)}.")
        self.windows = Windows(self.references.train, windows, unroll)
        self.measures = Measures() if measures is None else measures
        self.measures.check(self.references)
        budget = state_step_budget
        self._state_step_budget = None if budget is None else check_count(budget, "state_step_budget")
        self._evaluation_windows = check_count(evaluation_windows, "evaluation_windows", least=0)
        self._first: tuple[tuple[int, int], Window, Tensor] | None = None
        self._spent = 0  # state-steps of queries since reset
        self._told = 0  # of these, what `costs` has told
        self._check_network()
        self.metadata = {
            "name": name,
            "parameters": self.layout.dim,
            "windows": self.windows.count,
            "unroll": self.windows.longest,
            "batches_per_epoch": self.windows.per_epoch,
            "simulator": type(simulator).__name__,
        }

    # The parts ------------------------------------------------------------------------------------------------------

    @property
    def inner_places(self) -> Sequence[str]:
        """Where an `InnerBatch` may ask."""
        return (ONE_STEP, DETACHED, STATE, *((SIMULATOR,) if self.simulator.differentiable else ()))

    @property
    def state_steps(self) -> int:
        """State-steps that queries have taken since reset."""
        return self._spent

    def network(self, x: Tensor) -> Network:
        """Return the corrector at one `(d,)` point, from `(B, *I)` to `(B, *O)`."""
        return self._candidates.single(x)

    def corrected(self, x: Tensor | None, split: Trajectories, steps: int) -> Tensor:
        """Return the `(steps + 1, N, *F)` corrected trajectories from the first frame of each trajectory of a split.

        Args:
            x: `(d,)` point; None for the simulator alone.
            split: Whose starts and parameters are taken.
            steps: How many.
        """
        network = None if x is None else self.network(x)
        return corrected_rollout(self.simulator, self.coupling, network, split.states[:, 0], split.params, steps)

    def fitting_mu(self, difference: str) -> float:
        """Return the mu that fits the simulator's accuracy and the dtype, for "forward" or "central" differences."""
        return rounding_mu(self.simulator.accuracy(self.dtype), difference, scale=_WEIGHT_SCALE)

    def window(self, context: int) -> Window:
        """Return the windows of a context."""
        return self._started(context)[0]

    def _started(self, context: int) -> tuple[Window, Tensor]:
        """Return the windows of a context and their states one step on, which no corrector changes."""
        if self._first is None or self._first[0] != (self.seed, context):
            window = self.windows.at(self.seed, context)
            self._afford(len(window))
            with torch.no_grad():
                after = self.simulator.step(window.start, window.params)
            self._first = ((self.seed, context), window, after)
            self._spent += len(window)
        return self._first[1:]

    def _afford(self, steps: int) -> None:
        """Raise BudgetSpent if the state-steps are not left."""
        if self._state_step_budget is None:
            return
        left = self._state_step_budget - self._spent
        if steps > left:
            raise BudgetSpent(
                f"the state-step budget of {self._state_step_budget:,} is spent but for {left:,}, and the next queries "
                f"take {steps:,}; raise state_step_budget to go on."
            )

    @property
    def _candidates(self) -> CandidateNetwork:
        if self._built_for != self.seed:
            self._module, self._built_for = self._built(self.seed).to(self.device), self.seed
            self._network = CandidateNetwork(self._module)
            if self._network.layout != self.layout:
                raise InvalidSetting("corrector must build networks with the same parameters every time.")
        return self._network

    def _built(self, seed: int) -> nn.Module:
        with seeded_randomness(derive_seed(seed, _INIT_DRAW), torch.device("cpu")):
            network = self._build()
        if not isinstance(network, nn.Module):
            raise InvalidSetting(f"corrector must return a torch.nn.Module, got {brief(network)}.")
        return network

    def _check_network(self) -> None:
        """Run the corrector once: what does not fit the states is told here."""
        first = self.references.train.states[:1, 0], self.references.train.params[:1]
        with torch.no_grad():
            output = self._network.single(self.start())(self.coupling.inputs(*first))
            self.coupling.add(first[0], output)

    # Queries on the parameters --------------------------------------------------------------------------------------

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._first, self._spent, self._told = None, 0, 0
        return super().reset(seed=seed, options=options)

    @override
    def start(self) -> Tensor:
        self._candidates  # noqa: B018
        return self.layout.flatten(self._module).to(self.device)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return self._losses(DenseBatch.at(x, context))

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor:
        return self._losses(batch)

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor:
        return self._losses(batch)

    def _losses(self, batch: QueryBatch) -> Tensor:
        window, after = self._started(batch.context)
        steps = len(batch) * len(window) * (window.steps - 1)
        self._afford(steps)
        with torch.no_grad():
            losses = self._unrolled(batch, window, after)
        self._spent += steps
        return losses

    def _unrolled(self, batch: QueryBatch, window: Window, after: Tensor) -> Tensor:
        networks = self._candidates.of(batch)
        return unrolled_losses(
            self.simulator, self.coupling, networks, window, after, len(batch), self.references.scale
        )

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        """Return queries and the state-steps taken since the last answer; the first step is shared by a context."""
        if not len(batch):
            return super().costs(batch) | {"state_steps": 0.0}
        taken, self._told = self._spent - self._told, self._spent
        return super().costs(batch) | {"state_steps": float(taken)}

    @override
    def queries_per_chunk(self, batch: QueryBatch) -> int:
        size = _CHUNK_BYTES_GPU if self.device.type == "cuda" else _CHUNK_BYTES_CPU
        state = self.references.train.states[0, 0]
        fitting = max(1, size // (state.numel() * state.element_size() * self.windows.count))
        return max(1, min(super().queries_per_chunk(batch), fitting))

    @override
    def noise_free(self, x: Tensor) -> Tensor | None:
        if not self._evaluation_windows:
            return None
        window = self.windows.spread(self._evaluation_windows)
        with torch.no_grad():
            after = self.simulator.step(window.start, window.params)
            rows = [self._unrolled(DenseBatch.at(row[None]), window, after) for row in x]
        return torch.cat(rows)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "state_steps": self._spent}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._spent = self._told = state["state_steps"]

    @override
    def close(self) -> None:
        self.simulator.close()

    # Gradients at inner places --------------------------------------------------------------------------------------

    def inner_queries(self, place: str, differences: Any) -> int:
        """Return how many queries one gradient takes: 1, and at "state" one for each direction and side besides.

        Raises:
            InvalidSetting: If there is no such place, or the differences are not those of this one.
        """
        check_choice(place, tuple(self.inner_places), "place")
        if (place == STATE) != (differences is not None):
            raise InvalidSetting(
                f"at 'state' there is a CGE or an RGE, elsewhere back-propagation (differences=None); got "
                f"{brief(differences)} at {place!r}."
            )
        if differences is None:
            return 1
        return BlackBoxFunction(self.simulator.step, differences).queries_per_sample(*self.references.fields)

    def inner_mu(self, place: str) -> float:
        """Return the mu that fits central differences of a step, in units of a state's entries."""
        check_choice(place, (STATE,), "place")
        scale = _STATE_SCALE * self.references.scale
        return rounding_mu(self.simulator.accuracy(self.dtype), "central", scale=scale)

    def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
        """Answer a batch at an inner place.

        Raises:
            BudgetSpent: If the state-steps that it takes are not left; none is taken.
        """
        window = self.windows.at(self.seed, batch.context)
        ahead = window.steps - 1
        steps = len(window) * (window.steps + (len(batch) - 1) * ahead)
        self._afford(steps)
        seed = derive_seed(batch.seed, _DIRECTION_DRAW)
        loss, gradient = self._differentiated(
            batch.base, batch.context, batch.place, differences=batch.differences, seed=seed
        )
        self._spent += steps
        return InnerAnswer(float(loss), gradient if bool(loss.isfinite()) else torch.zeros_like(gradient), {})

    def gradient(self, x: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Return the loss and its `(d,)` gradient by back-propagation through the simulator.

        Not a query: for first-order references and for measuring estimates.

        Raises:
            InvalidSetting: If the simulator is not differentiable.
        """
        check_choice(SIMULATOR, tuple(self.inner_places), "place")
        return self._differentiated(x, context, SIMULATOR)

    def _differentiated(self, x: Tensor, context: int, place: str, **estimate: Any) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient at a place, both NaN where something blew up."""
        window, scale = self.windows.at(self.seed, context), self.references.scale
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            network = self._candidates.single(leaf)
            loss = loss_with_graph(
                self.simulator, self.coupling, network, window, place, scale, context=context, **estimate
            )
            if not bool(torch.isfinite(loss.detach())):
                return loss.detach() * torch.nan, torch.full_like(x, torch.nan)
            return loss.detach(), torch.autograd.grad(loss, leaf)[0]

    # Figures --------------------------------------------------------------------------------------------------------

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        return self.measures.quick(self, x)

    @override
    def final_metrics(self, x: Tensor) -> dict[str, float]:
        return self.measures.final(self, x)

    @override
    def pictures(self, points: Mapping[str, Mapping[int, Tensor]]) -> list[Drawing]:
        return draw_correctors(self, points)


def _default_coupling(references: References) -> Coupling:
    if references.layout == "staggered":
        return Staggered(references.scale, references.params_scale.tolist())
    return Additive(references.scale)
