"""Early abstention: changes no outcome where it says so, and never an error probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from zotoolkit.certification.bounds import least_count, lower_bound
from zotoolkit.certification.stopping import LOOK, StoppingRule, log_evidence


def stopped_at(rule: StoppingRule, labels: np.ndarray, chunk: int) -> int | None:
    """Where the rule stops when labels come in chunks."""
    asked = hits = 0
    for start in range(0, len(labels), chunk):
        part = labels[start : start + chunk]
        end = rule.first_stop(part, 1, asked, hits)
        if end is not None:
            return asked + end
        asked, hits = asked + len(part), hits + int((part == 1).sum())
    return None


@given(p=st.floats(0, 1), n=st.integers(1, 2000), chunk=st.integers(1, 300), seed=st.integers(0, 99))
def test_what_is_decided_would_have_ended_the_same_way(p: float, n: int, chunk: int, seed: int) -> None:
    alpha = 0.001
    labels = (np.random.default_rng(seed).random(n) < p).astype(np.int64)
    at = stopped_at(StoppingRule(n, alpha), labels, chunk)
    if at is None:
        return
    assert at % LOOK == 0
    assert at < n
    best = int(labels[:at].sum()) + n - at
    for smaller in (alpha, alpha / 10, alpha / 1000):
        assert float(lower_bound(best, n, smaller)) < 0.5
    # And not before it had to be: at the look before, certifying was still possible.
    before = at - LOOK
    if before:
        assert int(labels[:before].sum()) + n - before >= least_count(n, alpha)


@given(p=st.floats(0.2, 0.8), first=st.integers(1, 500), second=st.integers(1, 500), seed=st.integers(0, 99))
def test_where_it_stops_does_not_depend_on_chunks(p: float, first: int, second: int, seed: int) -> None:
    labels = (np.random.default_rng(seed).random(1500) < p).astype(np.int64)
    rule = StoppingRule(1500, 0.001, futility=0.01)
    assert stopped_at(rule, labels, first) == stopped_at(rule, labels, second)


@pytest.mark.parametrize(("m", "k"), [(0, 0), (10, 3), (100, 50), (64, 10), (300, 150)])
def test_the_evidence_is_the_integral(m: int, k: int) -> None:
    value, _ = integrate.quad(lambda p: 2 * p**k * (1 - p) ** (m - k) * 2.0**m, 0, 0.5)
    assert float(np.exp(log_evidence(np.array([m]), np.array([k])))[0]) == pytest.approx(value, rel=1e-6)


def test_the_evidence_never_fails_on_large_counts() -> None:
    asked = np.array([10**5, 10**5, 10**6])
    found = log_evidence(asked, np.array([0, 10**5, 999_999]))
    assert found[0] > 1e4
    assert (found[1:] == -np.inf).all()


def test_futility_gives_up_few_that_could_be_certified() -> None:
    # p = 1/2 is the hardest: there the bound beta is nearly reached when one looks for ever.
    beta, n, runs = 0.1, 4096, 2000
    labels = np.random.default_rng(0).random((runs, n)) < 0.5
    looks = np.arange(LOOK, n, LOOK)
    hits = labels.cumsum(axis=1)[:, looks - 1]
    given_up = (log_evidence(looks[None, :], hits) >= -np.log(beta)).any(axis=1).mean()
    assert 0.01 < given_up < beta


def test_futility_saves_most_of_a_hopeless_image() -> None:
    labels = (np.random.default_rng(1).random(10_000) < 0.4).astype(np.int64)
    decided = stopped_at(StoppingRule(10_000, 0.001), labels, 128)
    futile = stopped_at(StoppingRule(10_000, 0.001, futility=1e-4), labels, 128)
    assert decided is not None
    assert futile is not None
    assert 7_000 < decided < 9_000
    assert futile < 1_500


def test_too_few_samples_stop_at_once() -> None:
    zero = np.zeros(1, dtype=np.int64)
    assert StoppingRule(5, 0.001).stops(zero, zero).all()
    assert not StoppingRule(10, 0.001).stops(zero, zero).any()
