"""Counting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from zotoolkit.errors import CheckpointMismatch
from zotoolkit.query_models import Counts, Ledger


def test_purposes_add_up_and_copies_are_given_out() -> None:
    ledger = Ledger()
    ledger.record("training", sent=5, batches=2, retried=1)
    ledger.record("certification", sent=3, answered=2, failed=1)
    assert ledger.total == Counts(sent=8, answered=2, failed=1, batches=2, retried=1)
    assert (ledger.sent, ledger.answered, ledger.failed, ledger.batches) == (8, 2, 1, 2)
    ledger.of("training").sent = 99
    assert ledger.of("training").sent == 5
    assert ledger.purposes == ("training", "certification")
    assert repr(ledger) == "<Ledger: 8 images sent, 2 answered, 1 failed>"


def test_no_count_is_lost_between_threads() -> None:
    ledger = Ledger()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ledger.record("training", sent=1), range(500)))
    assert ledger.sent == 500


def test_state_survives() -> None:
    ledger, other = Ledger(), Ledger()
    ledger.record("training", sent=5)
    other.load_state_dict(ledger.state_dict())
    assert other.total == ledger.total
    for state in ([], {"training": {}}, {"training": {**ledger.state_dict()["training"], "sent": -1}}, {"x": 1}):
        with pytest.raises(CheckpointMismatch, match="is no state of a Ledger"):
            other.load_state_dict(state)  # type: ignore[arg-type]
    assert other.total == ledger.total
