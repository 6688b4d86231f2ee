"""Requests keep their distance."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from tests.query_models.models import FakeClock, Scripted, numbered
from zotoolkit.errors import InvalidSetting
from zotoolkit.query_models import Clock, RateLimit
from zotoolkit.query_models.rate import Gate


def test_the_first_goes_at_once_and_the_others_keep_their_distance() -> None:
    clock = FakeClock()
    gate = Gate(RateLimit(images=10), clock)
    stop = threading.Event()
    for images in (5, 10, 1):
        gate.pass_through(images, stop)
    assert clock.waits == [0.5, 1.0]
    clock.time += 60  # time that was not used is not saved up
    gate.pass_through(5, stop)
    gate.pass_through(5, stop)
    assert clock.waits == [0.5, 1.0, 0.5]


def test_the_slower_of_two_limits_counts() -> None:
    assert RateLimit(images=100, requests=2).seconds(10) == 0.5
    assert RateLimit(images=100, requests=2).seconds(200) == 2.0
    assert RateLimit().seconds(10**9) == 0


def test_a_model_is_asked_at_its_rate() -> None:
    clock = FakeClock()
    model = Scripted(batch_size=4, rate=RateLimit(requests=0.5), clock=clock)
    assert torch.equal(model.predict(numbered(12)), torch.arange(12) % 5)
    assert clock.waits == [2.0, 2.0]


def test_everybody_waits_when_told_to() -> None:
    clock = FakeClock()
    gate = Gate(None, clock)
    gate.hold(7.0)
    gate.hold(3.0)
    gate.pass_through(1, threading.Event())
    gate.pass_through(1, threading.Event())
    assert clock.waits == [7.0]


def test_the_real_clock_waits_and_can_be_stopped() -> None:
    clock, stop = Clock(), threading.Event()
    begun = clock.now()
    clock.wait(0.02, stop)
    assert clock.now() - begun >= 0.015
    stop.set()
    begun = time.monotonic()
    clock.wait(1e12, stop)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("limit", [{"images": 0}, {"requests": -1.0}, {"images": float("inf")}, {"requests": "1"}])
def test_bad_limits_are_refused(limit: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting, match=r"RateLimit\.(images|requests) must be a finite number above 0"):
        RateLimit(**limit)
