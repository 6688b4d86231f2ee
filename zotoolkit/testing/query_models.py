"""The promises of a query model as a pytest class that anybody can inherit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from zotoolkit.errors import BudgetSpent, InvalidImages, InvalidSetting
from zotoolkit.query_models import Answers, QueryBudget, QueryModel, probe_images
from zotoolkit.seeding import torch_generator


class QueryModelConformance:
    """Inherit it, say what to test, and pytest runs every promise.

    Attributes:
        images: How many images are asked about together.
        tolerance: How far a score may move when an image is asked about in other company: arithmetic of another order.
            The labels of near-ties may move with it.

    Examples:
        >>> from zotoolkit.query_models import CallableModel
        >>> class TestMine(QueryModelConformance):
        ...     def make_model(self, **settings):
        ...         return CallableModel(lambda x: x, access="logits", classes=3, input=(3,), **settings)
    """

    images: int = 13
    tolerance: float = 1e-5

    def make_model(self, **settings: Any) -> QueryModel:
        """Return a new model over the same classifier each time, with these settings of `QueryModel`."""
        raise NotImplementedError(f"{type(self).__name__} must override make_model")

    def make_images(self, model: QueryModel) -> Tensor:
        """Return `(images, *shape)` images, best such that several classes are among the answers."""
        return probe_images(model.input, self.images)

    @pytest.fixture
    def model(self) -> Iterator[QueryModel]:
        """A new model for each test, closed after it."""
        with self.make_model() as model:
            yield model

    @pytest.fixture
    def x(self, model: QueryModel) -> Tensor:
        """The images that are asked about."""
        return self.make_images(model)

    def test_answers_have_the_promised_form(self, model: QueryModel, x: Tensor) -> None:
        """Labels are int64 in range; scores are float32, one a class, largest at the label, and sum to one if proba."""
        answers = model.ask(x)
        assert len(answers) == len(x)
        assert answers.labels.shape == (len(x),)
        assert answers.labels.dtype == torch.int64
        assert not answers.failed.any(), f"a conformance test needs answers: {answers.errors}"
        assert answers.errors == {}
        assert bool(((answers.labels >= 0) & (answers.labels < model.classes)).all())
        if model.access == "label":
            assert answers.scores is None
            return
        assert answers.scores is not None
        assert answers.scores.shape == (len(x), model.classes)
        assert answers.scores.dtype == torch.float32
        assert torch.equal(answers.scores.gather(1, answers.labels[:, None])[:, 0], answers.scores.amax(dim=1))
        if model.access == "proba":
            assert float((answers.scores.sum(dim=1) - 1).abs().max()) <= model.form.tolerance + 1e-5

    def test_predict_and_scores_are_parts_of_ask(self, model: QueryModel, x: Tensor) -> None:
        """The three ways of asking agree."""
        answers = model.ask(x)
        self._agree(answers, model, model.predict(x), None if model.access == "label" else model.scores(x))
        if model.access == "label":
            with pytest.raises(InvalidSetting, match="no scores"):
                model.scores(x)

    def test_order_does_not_matter(self, model: QueryModel, x: Tensor) -> None:
        """Each row belongs to its image."""
        order = torch.randperm(len(x), generator=torch_generator(0))
        permuted = model.ask(x[order])
        place = order.argsort()
        scores = None if permuted.scores is None else permuted.scores[place]
        self._agree(model.ask(x), model, permuted.labels[place], scores)

    @pytest.mark.parametrize("batch_size", [1, 5])
    def test_batches_do_not_matter(self, model: QueryModel, x: Tensor, batch_size: int) -> None:
        """However few images go together, each has the same answer, and each is sent once."""
        together = model.ask(x)
        with self.make_model(batch_size=batch_size) as apart:
            answers = apart.ask(x)
            self._agree(together, model, answers.labels, answers.scores)
            assert apart.ledger.sent == len(x)
            assert apart.ledger.batches >= len(x) / apart.batch_size
            assert apart.batch_size <= batch_size

    def test_asking_again_gives_the_same(self, model: QueryModel, x: Tensor) -> None:
        """The classifier is a function of the image, and so is another instance of the model."""
        first, second = model.ask(x), model.ask(x)
        self._agree(first, model, second.labels, second.scores)
        with self.make_model() as other:
            third = other.ask(x)
        self._agree(first, model, third.labels, third.scores)

    def test_images_are_not_written_into(self, model: QueryModel, x: Tensor) -> None:
        """The caller's images stay as they are, whatever the classifier does to its own."""
        before = x.clone()
        model.ask(x)
        assert torch.equal(x, before)

    def test_images_of_every_make(self, model: QueryModel, x: Tensor) -> None:
        """Other floating-point dtypes, strides and graphs make no difference, and answers belong to no graph."""
        answers = model.ask(x)
        strided = x.repeat_interleave(2, dim=0)[::2]
        for images in (x.double(), strided, x.clone().requires_grad_()):
            again = model.ask(images)
            self._agree(answers, model, again.labels, again.scores)
            assert not (again.scores is not None and again.scores.requires_grad)

    def test_no_images_no_queries(self, model: QueryModel, x: Tensor) -> None:
        """An empty batch has empty answers and costs nothing."""
        answers = model.ask(x[:0])
        assert len(answers) == 0
        assert answers.scores is None or answers.scores.shape == (0, model.classes)
        assert model.ledger.sent == 0

    def test_noisy_images_are_answered(self, model: QueryModel, x: Tensor) -> None:
        """Images outside the input's range are asked about and not refused."""
        noise = torch.randn(x.shape, generator=torch_generator(1))
        answers = model.ask(x + (model.input.high - model.input.low) * noise)
        assert not answers.failed.any(), answers.errors

    def test_bad_images_are_refused_before_anything_is_sent(self, model: QueryModel, x: Tensor) -> None:
        """Other shapes, integers, NaN and infinity."""
        broken = x.clone()
        broken.view(len(x), -1)[1, 0] = torch.nan
        infinite = x.clone()
        infinite.view(len(x), -1)[2, -1] = -torch.inf
        for images in (x[0], x[..., :-1], x[:, None], x.long(), broken, infinite, x.tolist()):
            with pytest.raises(InvalidImages, match="images must"):
                model.ask(images)  # type: ignore[arg-type]
        assert model.ledger.sent == 0

    def test_counts(self, model: QueryModel, x: Tensor) -> None:
        """What is sent is counted under its purpose, and once."""
        model.ask(x)
        with model.spending("certification"):
            model.ask(x[:3])
        assert model.purpose not in ("certification", "training")
        assert model.ledger.sent == model.ledger.answered == len(x) + 3
        assert model.ledger.failed == 0
        counts = model.ledger.of("certification")
        assert (counts.sent, counts.answered, counts.failed, counts.retried) == (3, 3, 0, 0)
        assert counts.batches >= 1

    def test_a_budget_is_kept_to(self, x: Tensor) -> None:
        """Not one image more, reserves stay where they are, and what was refused was not sent."""
        budget = QueryBudget(len(x) + 4, reserved={"certification": 4})
        with self.make_model(budget=budget) as model:
            model.ask(x)
            with pytest.raises(BudgetSpent, match="none was sent"):
                model.ask(x[:1])
            assert model.ledger.sent == len(x)
            with model.spending("certification"):
                model.ask(x[:4])
                with pytest.raises(BudgetSpent, match="certification"):
                    model.ask(x[:1])
            assert model.ledger.sent == len(x) + 4 == sum(budget.spent.values())

    def test_a_resumed_run_has_its_counters(self, x: Tensor) -> None:
        """`state_dict` holds what was counted and spent."""
        with self.make_model(budget=QueryBudget(100)) as model, self.make_model(budget=QueryBudget(100)) as resumed:
            model.ask(x)
            resumed.load_state_dict(model.state_dict())
            assert resumed.state_dict() == model.state_dict()
            assert resumed.ledger.sent == len(x)
            assert resumed.budget is not None
            assert resumed.budget.remaining() == 100 - len(x)

    def _agree(self, answers: Answers, model: QueryModel, labels: Tensor, scores: Tensor | None) -> None:
        if answers.scores is None:
            assert torch.equal(labels, answers.labels)
            return
        assert scores is None or scores.shape == answers.scores.shape
        if scores is not None:
            torch.testing.assert_close(scores, answers.scores, rtol=self.tolerance, atol=self.tolerance)
        size = answers.scores.abs().nan_to_num(posinf=0.0).amax(dim=1).clamp(min=1.0)
        chosen = answers.scores.gather(1, labels[:, None])[:, 0]
        near_tie = answers.scores.amax(dim=1) - chosen <= 4 * self.tolerance * size
        assert bool(((labels == answers.labels) | near_tie).all()), f"labels {labels} and {answers.labels}"
