"""The interface of every classifier that can be asked about images and about nothing else."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, final

from torch import Tensor
from typing_extensions import Self

from zotoolkit.checks import check_choice, check_count, check_least
from zotoolkit.errors import CheckpointMismatch, InvalidSetting, brief
from zotoolkit.query_models.answers import ACCESSES, Access, Answers, Form
from zotoolkit.query_models.budget import DEFAULT_PURPOSE, QueryBudget, check_purpose
from zotoolkit.query_models.input_spec import InputSpec
from zotoolkit.query_models.ledger import Ledger
from zotoolkit.query_models.rate import Clock, Gate, RateLimit
from zotoolkit.query_models.retries import RetryPolicy
from zotoolkit.query_models.sending import Sending


class QueryModel(ABC):
    """A classifier behind a query interface: images go in, scores or labels come out.

    A subclass calls `super().__init__` and writes `evaluate`, which answers one batch. The rest stands here: batches,
    retries, rate limit, budget, counting and the checks of what comes back. A query that stays without an answer is a
    failed row, never an exception and never a wrong answer.

    Args:
        access: What the classifier answers with: "logits" (any scores whose largest is the class), "proba" (rows that
            sum to one) or "label".
        classes: Number of classes K.
        input: Shape and range of the images; a bare shape stands for images in [0, 1].
        batch_size: Images in one batch at most.
        budget: Limit on the images sent; None for none. May be shared with other models.
        retry: When a failed batch is sent again; by default it is not.
        rate: How fast the classifier may be asked; None for no limit.
        concurrency: Batches under way at once; above 1 `evaluate` is called from several threads.
        patience: So many batches in a row without a single answer end the run.
        tolerance: How far a row of probabilities may be from a sum of 1.
        name: For messages and reports; by default the class's.
        clock: What waits go by.

    Attributes:
        ledger: What was sent and what came back, by purpose.
        remote: Whether an answer of the wrong form may be an accident of the way, so that it is asked for again.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> import torch
        >>> class Brightness(QueryModel):
        ...     def evaluate(self, images):
        ...         return (images.mean(dim=1) > 0.5).long()
        >>> model = Brightness(access="label", classes=2, input=(4,))
        >>> model.predict(torch.tensor([[0.1, 0.2, 0.0, 0.3], [0.9, 0.8, 1.0, 0.7]])).tolist()
        [0, 1]
        >>> model.ledger.sent
        2
    """

    remote: bool = False

    def __init__(
        self,
        *,
        access: Access,
        classes: int,
        input: InputSpec | tuple[int, ...],
        batch_size: int = 256,
        budget: QueryBudget | None = None,
        retry: RetryPolicy | None = None,
        rate: RateLimit | None = None,
        concurrency: int = 1,
        patience: int = 10,
        tolerance: float = 1e-3,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = type(self).__name__ if name is None else name
        self.form = Form(
            access=check_choice(access, ACCESSES, "access"),
            classes=check_count(classes, "classes", least=2),
            tolerance=check_least(tolerance, 0, "tolerance"),
            name=self.name,
        )
        self.input = InputSpec.of(input)
        self.batch_size = check_count(batch_size, "batch_size")
        self.budget: QueryBudget | None = _check_type(budget, QueryBudget, "budget")
        self.retry: RetryPolicy = _check_type(retry, RetryPolicy, "retry") or RetryPolicy(attempts=1)
        self.rate: RateLimit | None = _check_type(rate, RateLimit, "rate")
        self.concurrency = check_count(concurrency, "concurrency")
        self.patience = check_count(patience, "patience")
        self.clock = Clock() if clock is None else clock
        self.gate = Gate(self.rate, self.clock)
        self.ledger = Ledger()
        self._fitting = self.batch_size
        self._purpose = DEFAULT_PURPOSE
        self._calls = 0
        self._failures_in_a_row = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    # What a subclass writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, images: Tensor) -> object:
        """Answer one batch: `(k, classes)` scores, or `(k,)` integer labels for label access.

        Must not write into the images. May raise `zotoolkit.query_models.BatchFailed` to say whether asking again
        may help, or `zotoolkit.PartialFailure` with the answers and a sentence for each row that failed; any other
        exception is a failed batch too. Rows of scores that are not finite count as failed.

        Args:
            images: `(k, *shape)` float32, k at most `batch_size`; clipped and rounded as the input spec says.
        """

    # What a caller uses ---------------------------------------------------------------------------------------------

    @property
    def access(self) -> Access:
        """What the classifier answers with: "logits", "proba" or "label"."""
        return self.form.access

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.form.classes

    @final
    def ask(self, images: Tensor) -> Answers:
        """Ask about images.

        Args:
            images: `(m, *shape)` floating point; values outside the input's range are passed on as they are, unless the
                input spec says otherwise.

        Returns:
            Labels, scores and errors, on the images' device.

        Raises:
            InvalidImages: If images have another shape or dtype or are not finite.
            BudgetSpent: If the budget does not cover them; then none is sent.
            InvalidAnswers: If the classifier breaks its promise; over HTTP if it has never kept it.
            ObjectiveFailed: If `patience` batches in a row came to nothing.
        """
        images = self.input.prepare(self.input.check(images))
        with self._lock:
            number, self._calls = self._calls, self._calls + 1
        return Sending(self, images, self._purpose, number).run()

    @final
    def predict(self, images: Tensor) -> Tensor:
        """Return `(m,)` int64 labels, -1 where the query failed; see `ask`."""
        return self.ask(images).labels

    @final
    def scores(self, images: Tensor) -> Tensor:
        """Return `(m, classes)` float32 scores, NaN rows where the query failed; see `ask`.

        Raises:
            InvalidSetting: If the classifier answers with labels only.
        """
        if self.access == "label":
            raise InvalidSetting(f"{self.name} answers with labels only and has no scores; use predict.")
        answers = self.ask(images)
        if answers.scores is None:
            raise InvalidSetting(f"{self.name} answered without scores.")
        return answers.scores

    @contextmanager
    def spending(self, purpose: str) -> Iterator[Self]:
        """Within this context count what is sent under a purpose, such as "training" or "certification".

        Examples:
            >>> import torch
            >>> from zotoolkit.query_models import CallableModel, QueryBudget
            >>> model = CallableModel(lambda x: x, access="logits", classes=2, input=(2,), budget=QueryBudget(10))
            >>> with model.spending("certification"):
            ...     _ = model.predict(torch.zeros(4, 2))
            >>> model.ledger.of("certification").sent, model.budget.spent
            (4, {'certification': 4})
        """
        outer, self._purpose = self._purpose, check_purpose(purpose)
        try:
            yield self
        finally:
            self._purpose = outer

    @property
    def purpose(self) -> str:
        """What is sent now is counted under this."""
        return self._purpose

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: the counters and what is spent of the budget."""
        budget = None if self.budget is None else self.budget.state_dict()
        return {"ledger": self.ledger.state_dict(), "budget": budget, "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Raises:
            CheckpointMismatch: If it is no such state, or was made with a budget where there is none now.
        """
        if not isinstance(state, dict) or not {"ledger", "budget", "calls"} <= set(state):
            raise CheckpointMismatch(f"{brief(state)} is no state of a QueryModel.")
        if state["budget"] is not None and self.budget is None:
            raise CheckpointMismatch("the state was made under a budget; resume with one, so that it is kept to.")
        self.ledger.load_state_dict(state["ledger"])
        if self.budget is not None and state["budget"] is not None:
            self.budget.load_state_dict(state["budget"])
        self._calls = int(state["calls"])

    def close(self) -> None:
        """Free what the model holds open: its threads; a subclass adds its own."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    # What sending uses ----------------------------------------------------------------------------------------------

    @property
    def fitting(self) -> int:
        """Images in one batch at most: `batch_size`, or less once a batch has turned out not to fit."""
        return self._fitting

    def fit(self, images: int) -> None:
        """Put at most so many images into a batch from now on."""
        with self._lock:
            self._fitting = max(1, min(self._fitting, images))

    def note_batch(self, answered: bool) -> int:
        """Note whether a batch got any answer; return how many in a row have got none."""
        with self._lock:
            self._failures_in_a_row = 0 if answered else self._failures_in_a_row + 1
            return self._failures_in_a_row

    def pool(self) -> ThreadPoolExecutor | None:
        """Return the threads that send side by side, None where batches go one by one."""
        if self.concurrency == 1:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="zotoolkit-images")
            return self._pool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.access}, {self.classes} classes, {self.input.shape}>"


def _check_type(value: Any, kind: type[Any], name: str) -> Any:
    if value is not None and not isinstance(value, kind):
        raise InvalidSetting(f"{name} must be a {kind.__name__} or None, got {brief(value)}.")
    return value
