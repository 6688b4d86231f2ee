"""Data and performance profiles against the definition, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zotoolkit.compare.profiles import data_profiles, performance_profiles, queries_to_solve


def runs(curves: dict[str, list[tuple[int, float]]], problem: str = "P", seed: int = 0) -> pd.DataFrame:
    rows = [
        {"problem": problem, "solver": solver, "seed": seed, "queries": q, "noise_free_best": f, "observed_best": f}
        for solver, points in curves.items()
        for q, f in points
    ]
    return pd.DataFrame(rows)


TABLE = pd.concat(
    [
        # f0 = 10, f_L = 0: at tau = 0.1 solved at f <= 1.
        runs({"A": [(0, 10.0), (4, 3.0), (8, 1.0), (40, 0.0)], "B": [(0, 10.0), (4, 0.9), (40, 0.5)]}, "P"),
        # f0 = 2, f_L = 1: solved at f <= 1.1, B never.
        runs({"A": [(0, 2.0), (30, 1.0)], "B": [(0, 2.0), (30, 1.5)]}, "Q"),
    ]
)


def test_queries_to_solve() -> None:
    found = queries_to_solve(TABLE, ["A", "B"], tau=0.1)
    assert found.loc[("P", 0)].tolist() == [8.0, 4.0]
    assert found.loc[("Q", 0)].tolist() == [30.0, np.inf]


def test_data_profiles_count_simplex_gradients() -> None:
    found = data_profiles(queries_to_solve(TABLE, ["A", "B"], 0.1), {"P": 3, "Q": 9})
    assert found["A"].x.tolist() == [1.0, 2.0, 3.0]
    assert found["A"].share.tolist() == [0.0, 0.5, 1.0]
    assert found["B"].share.tolist() == [0.5, 0.5, 0.5]


def test_performance_profiles_compare_with_the_quickest() -> None:
    found = performance_profiles(queries_to_solve(TABLE, ["A", "B"], 0.1))
    assert found["A"].x.tolist() == [1.0, 2.0]
    assert found["A"].share.tolist() == [0.5, 1.0]
    assert found["B"].share.tolist() == [0.5, 0.5]


def test_reference_lines_do_not_set_the_goal() -> None:
    with_reference = pd.concat([TABLE, runs({"R": [(0, 10.0), (1, -1000.0)]}, "P")])
    pd.testing.assert_frame_equal(
        queries_to_solve(with_reference, ["A", "B"], 0.1), queries_to_solve(TABLE, ["A", "B"], 0.1)
    )


def test_an_instance_without_progress_is_left_out() -> None:
    flat = runs({"A": [(0, 1.0), (9, 1.0)], "B": [(0, 1.0), (9, 1.0)]})
    assert queries_to_solve(flat, ["A", "B"], 0.1).empty


def test_every_seed_is_an_instance_with_a_goal_of_its_own() -> None:
    both = pd.concat([runs({"A": [(0, 10.0), (5, 0.0)]}, seed=0), runs({"A": [(0, 100.0), (7, 50.0)]}, seed=1)])
    assert queries_to_solve(both, ["A"], 0.1)["A"].tolist() == [5.0, 7.0]


def test_without_a_known_truth_the_start_is_the_middle_first_observation() -> None:
    observed = runs({"A": [(2, 8.0), (9, 0.0)], "B": [(3, 10.0), (9, 5.0)], "C": [(1, 1e9), (9, 2.0)]})
    observed["noise_free_best"] = np.nan
    # Start 10, lowest 0: at tau = 0.5 solved at f <= 5.
    assert queries_to_solve(observed, ["A", "B", "C"], 0.5).iloc[0].tolist() == [9.0, 9.0, 9.0]


@pytest.mark.parametrize("tau", [0.5, 0.1, 1e-3])
def test_a_smaller_tau_is_harder(tau: float) -> None:
    easy, hard = (queries_to_solve(TABLE, ["A", "B"], t).to_numpy() for t in (tau, tau / 10))
    assert (hard >= easy).all()
