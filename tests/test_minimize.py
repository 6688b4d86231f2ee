"""The loop: budgets, reasons to end, checkpoints, resume, failures."""

from __future__ import annotations

import functools
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import CGE, BlackBoxObjective, Callback, GradientSolver, Reason, Result, Run, minimize
from zotoolkit.checkpoint import FILE_NAME, has_checkpoint, load_state
from zotoolkit.errors import (
    BudgetSpent,
    CheckpointExists,
    CheckpointMismatch,
    CheckpointMissing,
    InvalidSetting,
    InvalidStart,
    InvalidValues,
    MetricsWarning,
    ObjectiveFailed,
    ResultsUnwritable,
)
from zotoolkit.solvers import Solver


class NoisyParabola(BlackBoxObjective):
    """A mini-batch-like objective: the target that the parabola is around moves with the context."""

    def __init__(self, dim: int = 7) -> None:
        super().__init__(zotoolkit.make_space(dim, dtype="float64"))
        self.asked = 0

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self.asked += len(x)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + context)
        target = 1 + 0.1 * torch.randn(x.shape[1], generator=generator, dtype=x.dtype)
        return ((x - target) ** 2).sum(dim=1)

    def noise_free(self, x: Tensor) -> Tensor:
        return ((x - 1) ** 2).sum(dim=1)

    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"distance": float((x - 1).norm())}


def solver(id: str = "ZO/Adam-RGE-v0", **settings: Any) -> Solver:
    return zotoolkit.make_solver(id, **settings)


run = functools.partial(minimize, progress=False)


@pytest.mark.parametrize("budget", [1, 2, 10, 11, 12, 333])
@pytest.mark.parametrize("id", ["ZO/SGD-CGE-v0", "ZO/SGD-RGE-v0", "ZO/SPSA-v0"])
def test_the_budget_is_spent_to_the_last_query_and_never_exceeded(budget: int, id: str) -> None:
    objective = NoisyParabola()
    result = run(objective, solver(id), budget=budget)
    assert result.queries == objective.queries == objective.asked == budget
    assert result.reason is Reason.BUDGET_SPENT


@pytest.mark.parametrize("budget", [3, 50, 51])
def test_without_a_noise_free_loss_the_last_query_tells_the_recommended_points_loss(budget: int) -> None:
    asked: list[float] = []

    def f(x: Any) -> float:
        asked.append(float((x**2).sum()))
        return asked[-1]

    result = run(zotoolkit.from_callable(f, dim=3, x0=[1.0, 2.0, 3.0]), solver(), budget=budget)
    assert len(asked) == result.queries == budget
    assert result.value == asked[-1] == float((result.x**2).sum())


def test_with_a_noise_free_loss_the_value_is_exact() -> None:
    result = run(NoisyParabola(), solver(), budget=500)
    assert result.value == float(((result.x - 1) ** 2).sum())
    assert result.metrics == {"distance": pytest.approx(math.sqrt(result.value))}


def test_the_best_query_is_kept_and_can_be_asked_again() -> None:
    objective = zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=4)
    result = run(objective, solver(), budget=300)
    assert result.best_x is not None
    assert result.best_value == float(((result.best_x - 1) ** 2).sum())
    assert result.best_value <= result.value


def test_a_target_ends_the_run() -> None:
    result = run(NoisyParabola(), solver(lr=0.1), budget=100_000, target=0.5)
    assert result.reason is Reason.TARGET_REACHED
    assert result.best_value <= 0.5
    assert result.queries < 100_000


def test_a_callback_stops_the_run_and_sees_every_iteration() -> None:
    class Watch(Callback):
        def __init__(self) -> None:
            self.calls: list[str | int] = []

        def on_start(self, run: Run) -> None:
            self.calls.append("start")

        def on_iteration(self, run: Run) -> bool:
            self.calls.append(run.queries)
            return run.iteration == 3

        def on_end(self, run: Run) -> None:
            self.calls.append("end")

    watch = Watch()
    result = run(NoisyParabola(), solver("ZO/SGD-CGE-v0"), budget=1000, callbacks=[watch])
    assert result.reason is Reason.STOPPED
    assert watch.calls == ["start", 8, 16, 24, "end"]


def test_the_loop_by_hand_gives_the_same_point() -> None:
    objective, mine = NoisyParabola(), solver()
    x0, _ = objective.reset(seed=3)
    mine.reset(objective.space, x0, seed=3)
    while objective.queries < 440:
        batch = mine.ask()
        values, _, _, info = objective.step(batch)
        mine.tell(batch, values, info)
    assert torch.equal(mine.recommend(), run(NoisyParabola(), solver(), budget=440, seed=3).x)


def test_seeds_make_runs_repeatable_and_different() -> None:
    a, b, c = (run(NoisyParabola(), solver(), budget=200, seed=seed).x for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


class StopAt(Callback):
    """Raises in the middle of a run."""

    def __init__(self, iteration: int, error: BaseException) -> None:
        self.iteration, self.error = iteration, error

    def on_iteration(self, run: Run) -> None:
        if run.iteration == self.iteration:
            raise self.error


SCHEDULED: list[Callable[[], Solver]] = [
    lambda: solver("ZO/SGD-CGE-v0", lr=0.05, keep=0.5, refresh=3, schedule="cosine", iterations=100),
    lambda: solver("ZO/Adam-RGE-v0", law="sphere"),
    lambda: solver("ZO/SignSGD-v0", momentum=0.9),
    lambda: solver("ZO/SPSA-v0"),
    lambda: GradientSolver(
        CGE(difference="central"),
        functools.partial(torch.optim.SGD, lr=0.1, nesterov=True, momentum=0.9),
        functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=1000),
    ),
]


@pytest.mark.parametrize("make", SCHEDULED)
def test_resume_continues_bit_for_bit_and_callbacks_with_it(tmp_path: Path, make: Callable[[], Solver]) -> None:
    whole_history, history = zotoolkit.History(), zotoolkit.History()
    whole = run(NoisyParabola(), make(), budget=700, callbacks=[whole_history])
    settings: dict[str, Any] = {"budget": 700, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        run(NoisyParabola(), make(), callbacks=[zotoolkit.History(), StopAt(11, KeyboardInterrupt())], **settings)
    objective = NoisyParabola()
    resumed = run(objective, make(), callbacks=[history, Callback()], resume=True, **settings)
    assert torch.equal(whole.x, resumed.x)
    assert (whole.queries, whole.iterations, whole.best_value) == (
        resumed.queries,
        resumed.iterations,
        resumed.best_value,
    )
    assert objective.asked < 700 == objective.queries
    drop_time = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    assert drop_time == [{k: v for k, v in row.items() if k != "seconds"} for row in whole_history.rows]


def test_a_finished_run_resumes_to_its_result_and_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    first = run(NoisyParabola(), solver(), budget=200, checkpoint=tmp_path)
    again = run(NoisyParabola(), solver(), budget=200, checkpoint=tmp_path, resume=True)
    assert torch.equal(first.x, again.x)
    longer = run(NoisyParabola(), solver(), budget=220, checkpoint=tmp_path, resume=True)
    assert longer.queries == 220


@pytest.mark.parametrize("every", [{"checkpoint_iterations": 2}, {"checkpoint_seconds": 1e-9}])
def test_checkpoints_come_as_often_as_asked(tmp_path: Path, every: dict[str, Any]) -> None:
    seen: list[int] = []

    class Look(Callback):
        def on_iteration(self, run: Run) -> None:
            seen.append(load_state(tmp_path)[0]["run"]["iteration"])

    run(NoisyParabola(), solver("ZO/SGD-CGE-v0"), budget=48, checkpoint=tmp_path, callbacks=[Look()], **every)
    # A callback looks before the iteration's own checkpoint is written.
    assert seen == ([0, 0, 2, 2, 4, 4] if "checkpoint_iterations" in every else [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"budget": 0}, InvalidSetting, "budget must be an integer of at least 1, got 0"),
        ({"budget": -3}, InvalidSetting, "got -3"),
        ({"budget": 10.5}, InvalidSetting, "got 10.5"),
        ({"budget": 10, "seed": -1}, InvalidSetting, "seed"),
        ({"budget": 10, "resume": True}, InvalidSetting, "needs checkpoint"),
        ({"budget": 10, "checkpoint_iterations": 0}, InvalidSetting, "checkpoint_iterations"),
        ({"budget": 10, "checkpoint_seconds": 0}, InvalidSetting, "checkpoint_seconds"),
        ({"budget": 10, "x0": [1.0]}, InvalidStart, r"shape \(7,\), got a tensor of shape \(1,\)"),
        ({"budget": 10, "x0": []}, InvalidStart, r"shape \(0,\)"),
        ({"budget": 10, "x0": [float("nan")] * 7}, InvalidStart, "got nan in coordinate 0"),
        ({"budget": 10, "x0": [1] * 7}, InvalidStart, "floating point"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(NoisyParabola(), solver(), **settings)


def test_wrong_kinds_of_objective_and_solver() -> None:
    with pytest.raises(InvalidSetting, match="from_callable"):
        run(lambda x: 0.0, solver(), budget=10)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="make_solver"):
        run(NoisyParabola(), "ZO/SPSA-v0", budget=10)  # pyright: ignore[reportArgumentType]


def test_a_checkpoint_is_not_overwritten_by_a_new_run(tmp_path: Path) -> None:
    run(NoisyParabola(), solver(), budget=20, checkpoint=tmp_path)
    with pytest.raises(CheckpointExists, match="resume=True"):
        run(NoisyParabola(), solver(), budget=20, checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": lambda: solver("ZO/SGD-RGE-v0")}, "solver 'ZO/Adam-RGE-v0', this run has solver 'ZO/SGD-RGE-v0'"),
        ({"solver": lambda: solver(q=3)}, "solver settings"),
        ({"objective": lambda: NoisyParabola(dim=8)}, "dimension 7, this run has dimension 8"),
        ({"objective": lambda: zotoolkit.from_callable(sum, dim=7)}, "problem 'NoisyParabola'"),
        ({"objective": lambda: zotoolkit.TargetReached(NoisyParabola(), 0.0)}, "problem 'NoisyParabola', this run has"),
        ({"seed": 1}, "seed 0, this run has seed 1"),
        ({"x0": [0.5] * 7}, "another x0"),
        ({"callbacks": [zotoolkit.History()]}, "callbacks"),
    ],
)
def test_a_checkpoint_of_another_run(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run(NoisyParabola(), solver(), budget=20, checkpoint=tmp_path)
    objective = change.pop("objective", NoisyParabola)()
    mine = change.pop("solver", solver)()
    with pytest.raises(CheckpointMismatch, match=message):
        run(objective, mine, budget=20, checkpoint=tmp_path, resume=True, **change)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing):
        run(NoisyParabola(), solver(), budget=20, checkpoint=tmp_path, resume=True)


def test_an_unwritable_folder_is_known_before_a_query_is_spent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    objective = NoisyParabola()
    with pytest.raises(ResultsUnwritable):
        run(objective, solver(), budget=20, checkpoint=tmp_path / "file")
    assert objective.asked == 0


def test_a_disk_that_fills_up_costs_the_checkpoint_and_not_the_run(tmp_path: Path) -> None:
    class FillUp(Callback):
        def on_iteration(self, run: Run) -> None:
            if run.iteration == 2:
                # What stands in the way of the next write is a folder of the part file's name.
                (tmp_path / (FILE_NAME + ".part")).mkdir()

    with pytest.warns(UserWarning, match="cannot write a checkpoint"):
        result = run(
            NoisyParabola(), solver(), budget=100, checkpoint=tmp_path, checkpoint_iterations=1, callbacks=[FillUp()]
        )
    assert result.queries == 100
    assert load_state(tmp_path)[0]["run"]["iteration"] == 1


def test_an_objective_that_always_raises_ends_the_run_with_its_own_words() -> None:
    def broken(x: Any) -> float:
        raise RuntimeError("the simulator is not installed")

    with pytest.raises(ObjectiveFailed, match=r"last 1\d\d queries all failed.*the simulator is not installed"):
        run(zotoolkit.from_callable(broken, dim=2), solver(), budget=1000)


def test_an_objective_that_always_returns_nan_ends_the_run() -> None:
    with pytest.raises(ObjectiveFailed, match="NaN"):
        run(zotoolkit.from_callable(lambda x: float("nan"), dim=2), solver(), budget=1000)


def test_queries_that_fail_now_and_then_do_not_stop_the_descent() -> None:
    calls = 0

    def flaky(x: Any) -> float:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            raise TimeoutError("no answer")
        return float("inf") if calls % 11 == 0 else float(((x - 1) ** 2).sum())

    result = run(zotoolkit.from_callable(flaky, dim=3), solver("ZO/SGD-CGE-v0", lr=0.05), budget=3000)
    assert float(((result.x - 1) ** 2).sum()) < 1e-2
    assert math.isfinite(result.best_value)


def test_a_broken_contract_raises_and_keeps_what_there_was(tmp_path: Path) -> None:
    class Shrinking(NoisyParabola):
        def evaluate(self, x: Tensor, context: int) -> Tensor:
            return super().evaluate(x, context)[: None if context < 5 else 2]

    with pytest.raises(InvalidValues, match=r"shape \(11,\), got a tensor of shape \(2,\)"):
        run(Shrinking(), solver(), budget=1000, checkpoint=tmp_path)
    assert load_state(tmp_path)[0]["run"]["iteration"] == 5


def test_a_solver_that_asks_nothing_new_forever_is_stopped() -> None:
    class Repeating(NoisyParabola):
        def _answer(self, batch: Any) -> Any:
            values, terminated, truncated, info = super()._answer(batch)
            info["queries"] = 0
            return values, terminated, truncated, info

    assert run(Repeating(), solver(), budget=10).reason is Reason.STALLED


KILLED = Path(__file__).with_name("killed_run.py")


@pytest.mark.parametrize("id", ["ZO/Adam-RGE-v0", "ZO/SGD-CGE-v0"])
def test_twenty_sigkills_at_random_moments_change_nothing(tmp_path: Path, id: str) -> None:
    done = subprocess.run(
        [sys.executable, str(KILLED), str(tmp_path), id], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["killed", "20", "equal", "True"]


def interrupted(folder: Path) -> subprocess.Popen[str]:
    script = f"""
import sys, time, zotoolkit
def slow(x):
    print("asked", flush=True)
    time.sleep(0.01)
    return float((x ** 2).sum())
zotoolkit.minimize(
    zotoolkit.from_callable(slow, dim=3, x0=[1.0, 2.0, 3.0]), zotoolkit.make_solver("ZO/SGD-CGE-v0"),
    budget=100_000, checkpoint={str(folder)!r}, progress=False,
)
"""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def test_ctrl_c_writes_a_checkpoint(tmp_path: Path) -> None:
    process = interrupted(tmp_path / "run")
    assert process.stdout is not None
    for _ in range(15):
        assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert "KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT
    assert has_checkpoint(tmp_path / "run")
    # 15 queries are three whole iterations of four and a part of the next one.
    assert load_state(tmp_path / "run")[0]["run"]["iteration"] >= 3


def test_the_result_reads_as_a_sentence() -> None:
    result: Result = run(NoisyParabola(), solver(), budget=50)
    assert "after 50 queries in 5 iterations" in str(result)
    assert str(result).endswith("The query budget is spent.")


def test_progress_shows_queries_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    minimize(NoisyParabola(), solver(), budget=50)
    shown = capsys.readouterr().err
    assert "ZO/Adam-RGE-v0" in shown
    assert "queries/s" in shown
    assert "loss" in shown


# Figures of merit at the end ------------------------------------------------------------------------------------------


class Measured(NoisyParabola):
    """Tells what is measured once, or cannot."""

    lost = False
    asked_finally = 0

    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"norm": float(x.norm())}

    def final_metrics(self, x: Tensor) -> dict[str, float]:
        self.asked_finally += 1
        if self.lost:
            raise BudgetSpent("nothing is left to measure with")
        return {"largest": float(x.max())}


def test_final_metrics_are_asked_for_once_and_under_wrappers() -> None:
    objective = Measured()
    result = run(zotoolkit.wrappers.BudgetLimit(objective, 1_000), solver(), budget=50)
    assert result.metrics == {"norm": float(result.x.norm()), "largest": float(result.x.max())}
    assert objective.asked_finally == 1
    assert NoisyParabola().final_metrics(result.x) == {}


def test_final_metrics_of_a_rescaled_space_are_those_of_the_point_inside() -> None:
    class Boxed(Measured):
        def __init__(self) -> None:
            super().__init__()
            self.space = zotoolkit.make_space(7, 0.0, 10.0, dtype="float64")

    outer = zotoolkit.wrappers.RescaleSpace(Boxed())
    assert outer.final_metrics(torch.zeros(7, dtype=torch.float64)) == {"largest": 5.0}


def test_what_was_found_is_not_lost_with_its_final_metrics(tmp_path: Path) -> None:
    objective = Measured()
    whole = run(objective, solver(), budget=50)
    objective.lost = True
    with pytest.warns(MetricsWarning, match="nothing is left to measure with"):
        result = run(objective, solver(), budget=50)
    assert torch.equal(result.x, whole.x)
    assert set(result.metrics) == {"norm"}
    with pytest.raises(BudgetSpent):
        run(objective, solver(), budget=50, checkpoint=tmp_path)
    objective.lost = False
    assert run(objective, solver(), budget=50, checkpoint=tmp_path, resume=True).metrics == whole.metrics
