"""Curves over seeds, final tables, ranks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.compare.tables import frame
from zotoolkit.compare import statistics
from zotoolkit.compare.statistics import (
    anytime,
    bootstrap_median,
    final_rows,
    final_table,
    holm,
    mean_ranks,
    objective_column,
    overall_ranks,
    pairings,
    step_values,
    summarise,
)
from zotoolkit.errors import InvalidSetting


@given(
    x=st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True).map(sorted),
    grid=st.lists(st.integers(0, 60), max_size=8),
)
def test_a_step_curve_is_what_was_known_by_then(x: list[int], grid: list[int]) -> None:
    y = [float(10 * i) for i in range(len(x))]
    found = step_values(np.array(x), np.array(y), np.array(grid, dtype=float))
    for place, value in zip(grid, found, strict=True):
        known = [one for at, one in zip(x, y, strict=True) if at <= place]
        assert value == known[-1] if known else np.isnan(value)


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(1).lognormal(size=25)
    low, high = bootstrap_median(values, resamples=20_000)
    wanted = stats.bootstrap((values,), np.median, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    assert low == pytest.approx(wanted.low, rel=0.03)
    assert high == pytest.approx(wanted.high, rel=0.03)


def test_the_bootstrap_covers_the_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    # A column a repetition: 400 samples of 21 values with true median 0.
    low, high = bootstrap_median(random.standard_normal((21, 400)), resamples=1000)
    covered = float(np.mean((low <= 0) & (high >= 0)))
    assert 0.90 <= covered <= 0.99


def test_the_bootstrap_is_the_same_every_time_and_in_any_shape() -> None:
    values = np.random.default_rng(0).standard_normal((9, 70))
    whole = bootstrap_median(values)
    assert np.array_equal(whole, bootstrap_median(values))
    for column in (0, 31, 32, 69):
        assert np.array_equal(bootstrap_median(values[:, column]), [end[column] for end in whole])


def test_few_seeds_give_their_range() -> None:
    assert bootstrap_median(np.array([3.0])) == (3.0, 3.0)
    assert bootstrap_median(np.array([1.0, 5.0, 2.0])) == (1.0, 5.0)


def test_a_run_without_a_loss_is_infinitely_bad() -> None:
    found = summarise(np.array([1.0, np.nan, np.nan]))
    assert (found.middle, found.low, found.high) == (np.inf, 1.0, np.inf)


def test_the_bootstrap_refuses_nonsense() -> None:
    with pytest.raises(InvalidSetting, match="level"):
        bootstrap_median(np.ones(3), level=1.0)
    with pytest.raises(InvalidSetting, match="no values"):
        bootstrap_median(np.empty(0))


def test_an_anytime_curve_is_the_median_of_the_seeds() -> None:
    rows = []
    for seed, factor in enumerate((1.0, 2.0, 4.0)):
        for queries in (0, 1, 10, 100):
            rows.append({"seed": seed, "queries": queries, "seconds": queries / 10, "loss": factor / (1 + queries)})
    table = pd.DataFrame(rows)
    band = anytime(table, "loss", "queries", points=41)
    assert band.grid[0] == 1.0
    assert band.grid[-1] == 100.0
    assert band.seeds == 3
    assert band.middle[0] == pytest.approx(2 / 2)
    assert band.middle[-1] == pytest.approx(2 / 101)
    assert np.all(band.low <= band.middle)
    assert np.all(band.middle <= band.high)
    # From the left edge on the value at 0 queries is known.
    assert anytime(table, "loss", "queries", first=0.01).middle[0] == 2.0
    assert anytime(table, "loss", "seconds").grid[-1] == 10.0


def test_a_curve_begins_where_every_seed_has_a_value_and_keeps_the_last_one() -> None:
    table = pd.DataFrame(
        {
            "seed": [0, 0, 1, 1],
            "queries": [1, 10, 5, 50],
            "loss": [4.0, 2.0, 8.0, 6.0],
        }
    )
    band = anytime(table, "loss")
    assert (band.grid[0], band.grid[-1]) == (5.0, 50.0)
    assert band.middle[-1] == 4.0


def test_an_empty_curve_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no run has values"):
        anytime(pd.DataFrame({"seed": [0], "queries": [1], "loss": [np.nan]}), "loss")


def test_truth_and_observation_are_not_mixed() -> None:
    table = frame({"A": [1.0], "B": [2.0]})
    assert objective_column(table) == "noise_free_best"
    table.loc[0, "noise_free_best"] = np.nan
    assert objective_column(table) == "observed_best"


def test_the_final_table() -> None:
    table = frame({"A": [1.0, 2.0, 3.0], "B": [2.5, 1.5, 9.0], "C": [7.0, 8.0, 9.0], "R": [0.1, 0.1, 0.1]})
    found = final_table(table, solvers=["A", "B", "C", "D", "R"], problems=["P"], references=["R"], expected=3)
    found = found.set_index("solver")
    assert found.loc["A", "median"] == 2.0
    assert list(found["best"]) == [True, False, False, False, False]
    assert list(found["overlap"]) == [False, True, False, False, False]
    assert found.loc["D", "seeds"] == 0
    assert np.isnan(found.loc["R", "rank"])
    # Seed by seed A, B, C, D (no run: last): 1 2 3 4, 2 1 3 4, 1 2.5 2.5 4.
    assert found.loc["A", "rank"] == pytest.approx(4 / 3)
    assert found.loc["B", "rank"] == pytest.approx(5.5 / 3)
    assert found.loc["D", "rank"] == 4.0
    assert found.loc["A", "queries"] == 100


def test_final_rows_are_the_last_ones_in_any_order() -> None:
    table = frame({"A": [1.0, 2.0]}).sample(frac=1.0, random_state=1)
    assert sorted(final_rows(table)["noise_free_best"]) == [1.0, 2.0]


def test_an_unfinished_run_ranks_last() -> None:
    last = final_rows(frame({"A": [5.0, 5.0], "B": [1.0]}))
    assert mean_ranks(last, "noise_free_best", ["A", "B"]) == {"A": 1.5, "B": 1.5}


def test_ranks_over_problems() -> None:
    both = pd.concat([frame({"A": [1.0], "B": [2.0]}, "P"), frame({"A": [3.0], "B": [2.0], "C": [1.0]}, "Q")])
    found = final_table(both, solvers=["A", "B", "C"], problems=["P", "Q"])
    assert overall_ranks(found) == {"C": 1.0, "B": 2.0, "A": 2.0} or list(overall_ranks(found)) == ["C", "A", "B"]


def test_pairs_are_compared_seed_by_seed() -> None:
    random = np.random.default_rng(0)
    ours = random.random(8)
    table = frame({"A": list(ours), "B": list(ours + 1), "C": list(ours), "D": list(ours + random.normal(size=8))})
    found = pairings(final_rows(table), "noise_free_best", "A", ["B", "C", "D"])
    assert (found["B"].better, found["B"].equal, found["B"].worse) == (8, 0, 0)
    assert (found["C"].better, found["C"].equal, found["C"].worse, found["C"].p) == (0, 8, 0, 1.0)
    # All eight differences of one sign: p = 2 / 2^8, times three comparisons.
    assert found["B"].p == pytest.approx(3 * 2 / 2**8)


def test_with_few_seeds_no_p_value_is_given() -> None:
    table = frame({"A": [1.0] * 5, "B": [2.0] * 5})
    assert pairings(final_rows(table), "noise_free_best", "A", ["B"])["B"].p is None


def test_pairs_leave_out_seeds_that_one_has_not_finished() -> None:
    table = frame({"A": [1.0, 1.0, 1.0], "B": [2.0]})
    found = pairings(final_rows(table), "noise_free_best", "A", ["B", "gone"])
    assert set(found) == {"B"}
    assert found["B"].better == 1


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_step_down_rule(p: dict[str, float]) -> None:
    found = holm(p)
    order = sorted(p, key=lambda name: p[name])
    for i, name in enumerate(order):
        wanted = max(min(1.0, p[other] * (len(p) - j)) for j, other in enumerate(order[: i + 1]))
        assert found[name] == pytest.approx(wanted)


def test_forwards_differ_only_when_they_do() -> None:
    table = frame({"A": [1.0]})
    assert not statistics.forwards_differ(table)
    table.loc[1, "forward_equivalents"] = 30.0
    assert statistics.forwards_differ(table)
