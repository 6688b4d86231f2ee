"""Training what stands in front of a fixed classifier, so that the smoothed composite can be certified."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from typing_extensions import override

from problems.defense.composite import Defense
from problems.defense.images import DefenseImages
from problems.defense.losses import chosen_loss, image_losses
from problems.defense.measuring import Measures
from problems.defense.white_box import is_white_box, white_box_losses
from problems.dnn.data import SupervisedData
from problems.dnn.evaluation import re_estimate
from problems.dnn.minibatches import MiniBatches
from zotoolkit.certification.bounds import warn_of_radii
from zotoolkit.checks import check_choice, check_count, check_device, check_least, check_positive
from zotoolkit.engines import ReplayEngine
from zotoolkit.engines.base import ARITHMETICS, Arithmetic, seeded_randomness
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import CheckpointMismatch, InvalidSetting, brief
from zotoolkit.inner import InnerAnswer, InnerBatch
from zotoolkit.nn import Asker, BlackBoxFunction, fitting_mu, losses_behind, probe_differences
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.query_models import DriftProbe, QueryEstimate, QueryModel, TorchModel, as_query_model
from zotoolkit.query_models.budget import TRAINING
from zotoolkit.seeding import derive_seed, torch_generator
from zotoolkit.spaces import make_space

_NOISE_DRAW, _DIRECTION_DRAW, _PROBE_DRAW, _LAYER_DRAW = 0xDEF0, 0xDEF1, 0xDEF2, 0xDEF3
_NORM_BATCHES = 16
Build = Callable[[int], Defense]


class DefendClassifier(BlackBoxObjective):
    """The loss of a classifier behind a denoiser, on noisy images, over the denoiser's parameters.

    A query is one mini-batch of noisy images through denoiser and classifier: `batch_size` images are sent. The noise
    belongs to (seed, context), so that all queries of an iteration share it. Three ways lead to a gradient:

    - queries on the parameters, by any solver: what the denoiser computes for its candidates is shared by an engine;
    - queries at an inner interface, by `zotoolkit.solvers.inner_gradient.InnerGradientSolver`: at "output", the images
      that the classifier sees, or at "latent", the encoder's output, with autograd below (ZO-DS and ZO-AE-DS);
    - back-propagation through everything, at "classifier", where that is a torch module: the first-order reference.

    Images are counted apart from queries, in the model's ledger and budget, by purpose: besides those of queries, each
    clean training image is asked about once for the classifier's own label, a probe asks for mu, metrics ask along the
    way, and 16 fixed inputs are asked before the first query and after certification: if the answers differ, no figure
    is given. Training never spends what certification needs: when nothing else is left, queries are SKIPPED.

    Args:
        classifier: A `zotoolkit.query_models.QueryModel`, or what `as_query_model` makes one of.
        images: To train and certify on.
        sigma: Standard deviation of the noise, in units of pixels.
        build: Called with the seed; returns the defense, pre-trained or not.
        loss: "cross-entropy", "zero-one", or "auto" for the first wherever the classifier gives scores.
        labels: "own" trains for the classifier's own labels of the clean images, "true" for the true ones.
        mse_weight: Weight of the mean squared error to the clean image, which takes no query, beside that loss.
        batch_size: Images a mini-batch.
        arithmetic: Of the engine for parameter queries.
        measures: What `metrics` and `final_metrics` certify; by default 200 test images at n = 1,000.
        device: Where the denoiser runs.
        name: For reports.

    Attributes:
        model: The query model; its ledger counts images by purpose.
        layout: How the trained parameters stand in a point.
        probe: What tells whether the classifier is still the same.
        inner_places: "latent" (with an encoder), "output", and "classifier" (of a torch module that gives scores).

    Raises:
        InvalidSetting: If a setting is out of its range or the parts do not fit together.
        BudgetSpent: If the model's budget does not cover certification.

    Warns:
        RadiusWarning: If a radius that is to be reported cannot be certified with so few samples.
    """

    def __init__(
        self,
        classifier: Any,
        images: DefenseImages,
        sigma: float,
        build: Build,
        *,
        loss: str = "auto",
        labels: Literal["own", "true"] = "own",
        mse_weight: float = 0.0,
        batch_size: int = 64,
        arithmetic: Arithmetic = "float32",
        measures: Measures | None = None,
        device: torch.device | str = "cpu",
        name: str = "defense",
    ) -> None:
        if not isinstance(images, DefenseImages):
            raise InvalidSetting(f"images must be DefenseImages, got {brief(images)}.")
        if not callable(build):
            raise InvalidSetting(f"build must be a function of the seed that returns a Defense, got {brief(build)}.")
        self.images, self.sigma = images, check_positive(sigma, "sigma")
        self.model: QueryModel = (
            classifier if isinstance(classifier, QueryModel) else as_query_model(classifier, input=images.shape)
        )
        if self.model.input.shape != images.shape:
            raise InvalidSetting(f"{self.model!r} takes other images than {images!r}.")
        if (self.model.input.low, self.model.input.high) != (0.0, 1.0):
            low, high = self.model.input.low, self.model.input.high
            raise InvalidSetting(
                f"{self.model!r} takes images in [{low:g}, {high:g}], but noise and radii are in units of [0, 1]: put "
                "the change of units into the classifier."
            )
        if self.model.classes < images.classes:
            raise InvalidSetting(f"{self.model!r} knows fewer classes than the {images.classes} of {images!r}.")
        self.loss = chosen_loss(loss, self.model)
        self.measures = Measures() if measures is None else measures
        warn_of_radii(self.measures.radii, self.measures.n, self.measures.alpha, self.sigma)
        self.probe = DriftProbe(self.model)
        self._labels = check_choice(labels, ("own", "true"), "labels")
        self._mse_weight = check_least(mse_weight, 0.0, "mse_weight")
        self._arithmetic: Arithmetic = check_choice(arithmetic, ARITHMETICS, "arithmetic")
        self._build = build
        device = check_device(device)
        self._defense = self._built(0, device)
        self._built_for: int | None = 0
        self._latent_shape = self._checked_shapes(device)
        self._needs(len(images.train) if labels == "own" else 0).check(self.model)
        self.layout = ParameterLayout.of(self._defense.front)
        if self.layout.dtype != torch.float32:
            raise InvalidSetting(f"the trained part must be float32 throughout, got {self.layout.dtype}.")
        super().__init__(make_space(self.layout.dim), device=device)
        self._engine: ReplayEngine | None = None
        self.batch_size = check_count(batch_size, "batch_size")
        self._own: Tensor | None = None
        self._batches = MiniBatches(SupervisedData(images.train, images.train_labels), batch_size)
        self.metadata = {
            "name": name,
            "classifier": self.model.name,
            "access": self.model.access,
            "sigma": self.sigma,
            "parameters": self.layout.dim,
            "batch_size": self.batch_size,
            "batches_per_epoch": self._batches.per_epoch,
        }

    # The parts ------------------------------------------------------------------------------------------------------

    @property
    def defense(self) -> Defense:
        """The defense of the present seed, as it is before training; in evaluation mode."""
        if self._built_for != self.seed:
            self._defense, self._built_for, self._engine = self._built(self.seed, self.device), self.seed, None
        return self._defense

    @property
    def inner_places(self) -> Sequence[str]:
        """Interfaces at which an `InnerBatch` may ask."""
        latent = () if self._defense.decoder is None else ("latent",)
        return (*latent, "output", *(("classifier",) if is_white_box(self.model) else ()))

    def defended(self, x: Tensor) -> Defense:
        """Return the defense at one `(d,)` point, in evaluation mode.

        Queries use the statistics of their own mini-batch in batch norms; those of evaluation are averages over noisy
        mini-batches of the first epoch.
        """
        defense = copy.deepcopy(self.defense)
        self.layout.write(x, defense.front)
        batches = (self._inputs(context) for context in range(_NORM_BATCHES))
        re_estimate(defense.front, (clean + noise for clean, _, noise in batches))
        return defense.eval()

    def minibatch(self, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy images, labels and clean images of one mini-batch, on the objective's device.

        Asks the classifier about all clean training images first, if its own labels are wanted and not known yet.

        Raises:
            BudgetSpent: If the budget does not cover that.
        """
        self._meet_classifier()
        clean, labels, noise = self._inputs(context)
        return clean + noise, labels, clean

    def _inputs(self, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return clean images, labels as far as they are known, and noise."""
        clean, labels = self._batches.at(self.seed, context)
        drawn = torch.randn(clean.shape, generator=torch_generator(self.seed, context, _NOISE_DRAW))
        return clean.to(self.device), labels.to(self.device), (self.sigma * drawn).to(self.device)

    def _built(self, seed: int, device: torch.device) -> Defense:
        defense = self._build(seed)
        if not isinstance(defense, Defense):
            raise InvalidSetting(f"build must return a Defense, got {brief(defense)}.")
        return defense.to(device).eval()

    def _checked_shapes(self, device: torch.device) -> tuple[int, ...]:
        """Run one image through; return the shape of what the front hands on.

        Raises:
            InvalidSetting: If the classifier would be shown something else than images.
        """
        with torch.no_grad():
            inner = self._defense.front(self.images.train[:1].to(device))
            shown = self._defense.image(inner)
        if not isinstance(shown, Tensor) or shown.shape[1:] != self.images.shape:
            raise InvalidSetting(f"the defense must make images of shape {self.images.shape}, got {brief(shown)}.")
        return tuple(inner.shape[1:])

    def _meet_classifier(self) -> None:
        """Ask the classifier, once, what the drift probe compares with and for its own labels."""
        if self.probe.before is None:
            self.probe.record()
        if self._labels == "own" and self._own is None:
            self._needs(len(self.images.train)).check(self.model)
            with self.model.spending(TRAINING):
                own = self.model.predict(self.images.train)
            # Where a query stayed without an answer the true label has to do.
            self._take_labels(torch.where(own < 0, self.images.train_labels, own))

    def _take_labels(self, own: Tensor) -> None:
        self._own = own
        self._batches = MiniBatches(SupervisedData(self.images.train, own), self.batch_size)

    def _needs(self, training: int) -> QueryEstimate:
        """Return what so many images of training and all that comes after it will send."""
        end = self.measures.estimate(self.images, autoencoder=self._defense.decoder is not None)
        drift = end.drift // 2 if self.probe.before is not None else end.drift
        return QueryEstimate(training=training, certification=end.certification, drift=drift)

    @override
    def state_dict(self) -> dict[str, Any]:
        asked = {"model": self.model.state_dict(), "own": self._own, "probe": self.probe.state_dict()}
        return {**super().state_dict(), "classifier": asked}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        asked = state["classifier"]
        if asked["own"] is not None and len(asked["own"]) != len(self.images.train):
            raise CheckpointMismatch(
                f"the checkpoint has labels of {len(asked['own']):,} training images, there are "
                f"{len(self.images.train):,}; resume with the same images."
            )
        self.model.load_state_dict(asked["model"])
        self.probe.load_state_dict(asked["probe"])
        if asked["own"] is not None:
            self._take_labels(asked["own"].cpu())

    # Queries on the parameters --------------------------------------------------------------------------------------

    @override
    def start(self) -> Tensor:
        return self.layout.flatten(self.defense.front).to(self.device)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return self._behind(DenseBatch.at(x, context))

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        return self._behind(batch)

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        return self._behind(batch)

    def _behind(self, batch: QueryBatch) -> Tensor:
        noisy, labels, clean = self.minibatch(batch.context)
        asker = Asker(self._losses_of_inner, None, "drop", self._rows)
        self._needs(len(batch) * self.batch_size).check(self.model)
        seed = derive_seed(self.seed, batch.context, _LAYER_DRAW)
        with self.model.spending(TRAINING):
            return losses_behind(self.engine, batch, noisy, asker, labels, clean, seed=seed)

    @property
    def engine(self) -> ReplayEngine:
        """What computes the front's outputs for many candidates, in training mode."""
        defense = self.defense
        if self._engine is None:
            front = copy.deepcopy(defense.front).train()
            self._engine = ReplayEngine(front, functional.mse_loss, arithmetic=self._arithmetic)
        return self._engine

    @property
    def _rows(self) -> int:
        return max(self.model.batch_size, 1024)

    def _losses_of_inner(self, inner: Tensor, labels: Tensor, clean: Tensor | None = None) -> Tensor:
        """Return the `(m,)` losses of what the front hands on."""
        with torch.no_grad():
            images = self.defense.image(inner)
            losses = image_losses(self.model, images, labels, self.loss)
            if self._mse_weight and clean is not None:
                losses = losses + self._mse_weight * ((images - clean) ** 2).flatten(1).mean(1)
        return losses

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        sent = 0 if isinstance(batch, InnerBatch) and batch.differences is None else len(batch) * self.batch_size
        return super().costs(batch) | {"images": float(sent)}

    @override
    def queries_per_chunk(self, batch: QueryBatch) -> int:
        points = super().queries_per_chunk(batch)
        return points if isinstance(batch, CoordinateBatch) else max(1, min(points, 65_536 // self.batch_size))

    # Queries at an interface ----------------------------------------------------------------------------------------

    def inner_queries(self, place: str, differences: Any) -> int:
        """Return how many queries one gradient at an interface takes; 1 of back-propagation.

        Raises:
            InvalidSetting: If there is no such interface, or the differences are not those of this one.
        """
        check_choice(place, tuple(self.inner_places), "place")
        if (place == "classifier") != (differences is None):
            raise InvalidSetting(
                f"at 'classifier' there is back-propagation (differences=None), elsewhere a CGE or an RGE; got "
                f"{brief(differences)} at {place!r}."
            )
        shape = self._latent_shape if place == "latent" else self.images.shape
        return 1 if differences is None else self._layer(place, differences, 0).queries_per_sample(*shape)

    def inner_mu(self, place: str) -> float:
        """Return the smoothing parameter that fits an interface, by access and by some probing queries."""
        noisy, labels, _ = self.minibatch(0)
        with torch.no_grad():
            inner = self.defense.front(noisy)
            inner = inner if place == "latent" else self.defense.image(inner)
            first = fitting_mu(self.model.access, inner, smooth=self.model.input.levels is None)
            with self.model.spending(TRAINING):
                function = self._function(place)
                seed = derive_seed(self.seed, _PROBE_DRAW)
                return probe_differences(function, inner, first, labels, seed=seed, max_batch=self._rows).recommended_mu

    def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
        """Answer a batch at an interface: queries there, autograd below.

        Raises:
            BudgetSpent: If the images that it takes would be missing for certification; none is sent.
        """
        noisy, labels, clean = self.minibatch(batch.context)
        if batch.differences is not None:
            self._needs(len(batch) * self.batch_size).check(self.model)
        front = copy.deepcopy(self.defense.front).train()
        layer: BlackBoxFunction | None = None
        with torch.enable_grad(), self.model.spending(TRAINING):
            leaf = batch.base.detach().clone().requires_grad_()
            with seeded_randomness(derive_seed(self.seed, batch.context, _LAYER_DRAW), self.device):
                inner = functional_call(front, self.layout.unflatten(leaf), (noisy,))
            images = self.defense.image(inner)
            if not bool(torch.isfinite(images.detach()).all() and torch.isfinite(inner.detach()).all()):
                return InnerAnswer(float("nan"), torch.zeros_like(batch.base), {})
            if batch.differences is None and isinstance(self.model, TorchModel):
                losses = white_box_losses(self.model, images, labels)
            else:
                seed = derive_seed(batch.seed, _DIRECTION_DRAW)
                layer = self._layer(batch.place, batch.differences, seed)
                losses = layer(inner if batch.place == "latent" else images, labels, context=batch.context)
            known = torch.isfinite(losses.detach())
            if not bool(known.any()):
                return InnerAnswer(float("nan"), torch.zeros_like(batch.base), {})
            total = losses[known].mean()
            if self._mse_weight:
                total = total + self._mse_weight * functional.mse_loss(images, clean)
            (gradient,) = torch.autograd.grad(total, leaf)
        report = None if layer is None else layer.last
        told = {} if report is None else {"zero_differences": report.zero_share, "dropped": float(report.dropped)}
        return InnerAnswer(float(total.detach()), gradient, told)

    def _layer(self, place: str, differences: Any, seed: int) -> BlackBoxFunction:
        value = "pairs" if getattr(differences, "difference", "") == "central" else "base"
        return BlackBoxFunction(self._function(place), differences, seed=seed, max_batch=self._rows, value=value)

    def _function(self, place: str) -> Callable[..., Tensor]:
        def losses(points: Tensor, labels: Tensor) -> Tensor:
            if place == "latent":
                return self._losses_of_inner(points, labels)
            return image_losses(self.model, points, labels, self.loss)

        losses.__name__ = self.model.name  # for messages
        return losses

    # Figures --------------------------------------------------------------------------------------------------------

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        return self.measures.quick(self, self.defended(x))

    @override
    def final_metrics(self, x: Tensor) -> dict[str, float]:
        return self.measures.final(self, self.defended(x))
