"""Waits between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit.errors import InvalidSetting
from zotoolkit.query_models import RetryPolicy


@given(st.integers(1, 2000), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 10))
def test_waits_stay_in_their_bounds_and_are_the_same_each_time(
    attempt: int, key: int, jitter: float, wait: float
) -> None:
    policy = RetryPolicy(wait=wait, longest_wait=20, jitter=jitter)
    seconds = policy.pause(attempt, key)
    longest = min(20.0, wait * 2.0 ** min(attempt - 1, 1000))
    assert longest * (1 - jitter) - 1e-9 <= seconds <= longest
    assert policy.pause(attempt, key) == seconds


def test_batches_that_failed_together_do_not_come_again_together() -> None:
    policy = RetryPolicy(wait=1, jitter=0.5)
    waits = {round(policy.pause(1, 0, start), 6) for start in range(0, 2560, 256)}
    assert len(waits) == 10
    assert policy.pause(1, 0, 0) != RetryPolicy(wait=1, jitter=0.5, seed=1).pause(1, 0, 0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"attempts": 0}, "RetryPolicy.attempts must be an integer of at least 1"),
        ({"wait": -1}, "RetryPolicy.wait must be a finite number of at least 0"),
        ({"longest_wait": float("inf")}, "RetryPolicy.longest_wait must be"),
        ({"jitter": 1.5}, r"RetryPolicy.jitter must be a number in \[0, 1\]"),
        ({"give_up": 0}, "RetryPolicy.give_up must be a finite number above 0"),
        ({"seed": -1}, "RetryPolicy.seed must be an integer"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        RetryPolicy(**setting)  # type: ignore[arg-type]
