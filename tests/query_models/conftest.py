"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from tests.query_models.models import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
