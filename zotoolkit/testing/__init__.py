"""Conformance suites that third parties inherit. Needs pytest: `pip install zotoolkit[test]`."""

import pytest

pytest.register_assert_rewrite("zotoolkit.testing.solvers", "zotoolkit.testing.query_models")

from zotoolkit.testing.objectives import ObjectiveConformance  # noqa: E402 - after the rewriting is asked for
from zotoolkit.testing.query_models import QueryModelConformance  # noqa: E402
from zotoolkit.testing.solvers import SolverConformance  # noqa: E402

__all__ = ["ObjectiveConformance", "QueryModelConformance", "SolverConformance"]
