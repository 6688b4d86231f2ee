"""How a query model answers: in batches, side by side where it may, each sent again until it is answered or given up.

A batch that failed in this process is halved until the images that cannot be answered stand alone; one that does not
fit, into memory or into a request, is halved for good. Every row keeps its place, and no image that fails costs
another one its answer.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zotoolkit.dispatch import PartialFailure, is_out_of_memory
from zotoolkit.errors import InvalidAnswers, ObjectiveFailed, ZotoolkitError
from zotoolkit.query_models.answers import Answers
from zotoolkit.query_models.retries import BatchFailed

if TYPE_CHECKING:
    from zotoolkit.query_models.base import QueryModel


class Sending:
    """One call of `QueryModel.ask`.

    Args:
        model: Who is asked.
        images: `(m, *shape)` as they are sent.
        purpose: What the images are counted under.
        number: Which call this is; the jitter of its waits derives from it.
    """

    def __init__(self, model: QueryModel, images: Tensor, purpose: str, number: int) -> None:
        self._model = model
        self._images = images
        self._purpose = purpose
        self._number = number
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0  # images that were sent at least once
        count, device = len(images), images.device
        self._labels = torch.full((count,), -1, dtype=torch.int64, device=device)
        self._scores = None
        if model.access != "label":
            self._scores = torch.full((count, model.classes), torch.nan, device=device)
        self._errors: dict[int, str] = {}

    def run(self) -> Answers:
        """Send everything and return what came back.

        Raises:
            BudgetSpent: If the budget does not cover every image once; then none is sent.
            InvalidAnswers: If the classifier breaks its promise.
            ObjectiveFailed: If so many batches in a row came to nothing.
        """
        budget, count = self._model.budget, len(self._images)
        if budget is not None:
            budget.take(count, self._purpose)
        try:
            self._send_all()
        finally:
            if budget is not None:
                budget.give_back(count - self._sent, self._purpose)
        return Answers(self._labels, self._scores, dict(sorted(self._errors.items())))

    def _send_all(self) -> None:
        count, size = len(self._images), self._model.batch_size
        batches = [torch.arange(start, min(start + size, count)) for start in range(0, count, size)]
        pool = self._model.pool() if len(batches) > 1 else None
        if pool is None:
            for rows in batches:
                self._send_batch(rows)
            return
        self._send_side_by_side(pool, batches)

    def _send_side_by_side(self, pool: ThreadPoolExecutor, batches: list[Tensor]) -> None:
        futures: list[Future[None]] = [pool.submit(self._send_or_stop, rows) for rows in batches]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # Ctrl-C too: nothing may be sent behind the caller's back
            self._stop.set()
            for future in futures:
                future.cancel()
            for future in futures:
                if not future.cancelled():
                    future.exception()
            raise

    def _send_or_stop(self, rows: Tensor) -> None:
        try:
            self._send_batch(rows)
        except BaseException:  # at once, before this thread takes the next batch
            self._stop.set()
            raise

    def _send_batch(self, rows: Tensor) -> None:
        """Send a whole batch; many in a row of which nothing comes back end the run."""
        if self._stop.is_set():
            return
        with torch.no_grad():  # threads have a grad mode of their own
            self._send(rows, fresh=True)
        if self._stop.is_set():
            return
        failed = [row for row in rows.tolist() if row in self._errors] if self._errors else []
        self._model.ledger.record(self._purpose, failed=len(failed))
        in_a_row = self._model.note_batch(answered=len(failed) < len(rows))
        if in_a_row >= self._model.patience:
            raise ObjectiveFailed(
                f"{self._model.name}: {in_a_row} batches in a row came to nothing. The last one: "
                f"{self._errors[failed[-1]]}"
            )

    def _send(self, rows: Tensor, fresh: bool) -> None:
        """Send rows until they are answered, the attempts are used up or the time is over."""
        model = self._model
        if len(rows) > model.fitting:
            for part in rows.split(model.fitting):
                self._send(part, fresh)
            return
        began: float | None = None
        breaches = 0
        attempt = 1
        while True:
            model.gate.pass_through(len(rows), self._stop)
            if self._stop.is_set():
                return
            began = model.clock.now() if began is None else began
            rows, failure = self._attempt(rows, fresh)
            breaches += isinstance(failure.__cause__, InvalidAnswers)
            if not len(rows):
                return
            fresh = False
            if failure.too_large and len(rows) > 1:
                model.fit(len(rows) // 2)
                self._send_parts(rows.split(len(rows) // 2), failure)
                return
            wait = model.retry.pause(attempt, self._number, int(rows[0]))
            if failure.wait is not None:
                wait = max(wait, failure.wait)
            reason = self._reason_to_stop(failure, attempt, model.clock.now() - began + wait, len(rows))
            if reason is not None:
                break
            attempt += 1
            if failure.wait is not None:
                model.gate.hold(failure.wait)
            model.clock.wait(wait, self._stop)
        self._give_up(rows, failure, reason, everything_broken=breaches == attempt)

    def _reason_to_stop(self, failure: BatchFailed, attempt: int, seconds: float, count: int) -> str | None:
        """Return None if there is to be a further attempt, which takes its images from the budget; else why not."""
        policy, budget = self._model.retry, self._model.budget
        if not failure.again:
            return ""
        if attempt >= policy.attempts:
            return f" ({attempt} attempts)" if attempt > 1 else ""
        if seconds > policy.give_up:
            return f" ({attempt} attempts; the next would come after more than {policy.give_up:g} s)"
        if budget is not None and not budget.try_take(count, self._purpose):
            return f" ({attempt} attempts; the budget does not cover another)"
        return None

    def _give_up(self, rows: Tensor, failure: BatchFailed, reason: str, everything_broken: bool) -> None:
        model = self._model
        cause = failure.__cause__
        if everything_broken and isinstance(cause, InvalidAnswers) and not model.ledger.answered:
            raise InvalidAnswers(f"{cause} It never answered otherwise{reason}.") from failure
        if failure.halve and len(rows) > 1:
            self._send_parts(rows.split((len(rows) + 1) // 2), failure)
            return
        self._fail(rows, f"{failure}{reason}", keep=True)

    def _send_parts(self, parts: tuple[Tensor, ...], failure: BatchFailed) -> None:
        """Send again in parts what came to nothing as a whole."""
        budget = self._model.budget
        for part in parts:
            if budget is None or budget.try_take(len(part), self._purpose):
                self._send(part, fresh=False)
            else:
                self._fail(part, f"{failure} (the budget does not cover another attempt in smaller batches)")

    def _fail(self, rows: Tensor, sentence: str, keep: bool = False) -> None:
        """Note why rows failed; with `keep` a row that has a sentence of its own keeps it."""
        with self._lock:
            for row in rows.tolist():
                if not (keep and row in self._errors):
                    self._errors[row] = sentence

    def _attempt(self, rows: Tensor, fresh: bool) -> tuple[Tensor, BatchFailed]:
        """Send rows once; return those that are left and what was wrong with them."""
        model, count = self._model, len(rows)
        with self._lock:
            self._sent += count if fresh else 0
        model.ledger.record(self._purpose, sent=count, batches=1, retried=0 if fresh else 1)
        try:
            answers = self._ask(rows)
        except BatchFailed as failure:
            return rows, failure
        except InvalidAnswers as error:
            if not model.remote:
                raise
            failure = BatchFailed(str(error))
            failure.__cause__ = error
            return rows, failure
        except ZotoolkitError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                if count == 1:
                    raise
                return rows, BatchFailed(f"{type(error).__name__}: {error}", too_large=True)
            return rows, BatchFailed(f"{type(error).__name__}: {error}", halve=not model.remote)
        return self._take_in(rows, answers)

    def _ask(self, rows: Tensor) -> Answers:
        model, count = self._model, len(rows)
        first, last = int(rows[0]), int(rows[-1])
        whole = last - first + 1 == count  # then it is a view
        part = self._images[first : last + 1] if whole else self._images[rows.to(self._images.device)]
        try:
            return model.form.read(model.evaluate(part), count)
        except PartialFailure as failure:
            if strangers := [row for row in failure.errors if row not in range(count)]:
                raise InvalidAnswers(f"PartialFailure.errors names row {strangers[0]!r} of {count} rows.") from None
            return self._read_partial(failure, count)

    def _read_partial(self, failure: PartialFailure, count: int) -> Answers:
        """Return answers of which some rows are said to have failed; whatever stands in these is ignored."""
        form = self._model.form
        if len(failure.values) != count:
            form.read(failure.values, count)  # raises
        good = torch.tensor([row not in failure.errors for row in range(count)], dtype=torch.bool)
        read = form.read(failure.values[good.to(failure.values.device)], int(good.sum()))
        labels = torch.full((count,), -1, dtype=torch.int64, device=read.labels.device)
        labels[good.to(labels.device)] = read.labels
        scores = None
        if read.scores is not None:
            scores = read.scores.new_full((count, form.classes), torch.nan)
            scores[good.to(scores.device)] = read.scores
        places = torch.nonzero(good)[:, 0].tolist()
        errors = {row: str(sentence) for row, sentence in failure.errors.items()}
        errors.update({places[row]: sentence for row, sentence in read.errors.items()})
        return replace(read, labels=labels, scores=scores, errors=errors)

    def _take_in(self, rows: Tensor, answers: Answers) -> tuple[Tensor, BatchFailed]:
        """Keep what was answered; return the rows that were not."""
        good = ~answers.failed
        failed = answers.failed.cpu()
        answered = rows[~failed]
        place = answered.to(self._labels.device)
        with self._lock:
            self._labels[place] = answers.labels[good].to(self._labels.device)
            if self._scores is not None and answers.scores is not None:
                self._scores[place] = answers.scores[good].to(self._scores.device)
            if self._errors:
                for row in answered.tolist():
                    self._errors.pop(row, None)
            for position, sentence in answers.errors.items():
                self._errors[int(rows[position])] = sentence
        self._model.ledger.record(self._purpose, answered=len(answered))
        return rows[failed], BatchFailed(next(iter(answers.errors.values()), ""))
