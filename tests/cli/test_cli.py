"""The command line, called in process: what it prints, where, and its exit codes."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zotoolkit
from problems.defense.pretraining import pretrain_autoencoder
from tests.compare import toy_problems
from tests.compare.tables import write_comparison
from zotoolkit.cli import main
from zotoolkit.compare import store

TOYS = str(Path(toy_problems.__file__))
RUN = ["run", "Toy/Quadratic-v0", "--import", TOYS, "--solver", "ZO/SGD-CGE-v0", "--no-progress"]
COMPARE = ["compare", "--import", TOYS, "--no-progress", "--problems", "Toy/Quadratic", "--solvers", "ZO/SGD-CGE"]

Complaint = Callable[..., str]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Return a function that runs a command, checks exit code and form, and returns the one line it complains with."""

    def call(*arguments: str, code: int = 2) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        lines = printed.err.splitlines()
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("zotoolkit: error: ")
        assert "Traceback" not in printed.err
        return lines[0]

    return call


# list and describe ------------------------------------------------------------------------------------------------


def test_list_shows_problems_and_solvers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--import", TOYS]) == 0
    printed = capsys.readouterr().out
    assert "Toy/Quadratic-v0  " in printed
    assert "ZO/SPSA-v0  " in printed


def test_list_can_be_narrowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--solvers", "spall"]) == 0
    printed = capsys.readouterr().out
    assert "ZO/SPSA-v0" in printed
    assert "ZO/SGD-CGE-v0" not in printed
    assert main(["list", "--problems", "--import", TOYS, "toy/"]) == 0
    assert "ZO/" not in capsys.readouterr().out


def test_describe_a_solver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "ZO/SGD-CGE"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ZO/SGD-CGE-v0 (solver)\n")
    assert "difference     forward  " in printed
    assert "Learning rate." in printed


def test_describe_a_problem_as_it_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "Toy/Quadratic-v0", "--import", TOYS, "--set", "dim=7"]) == 0
    printed = capsys.readouterr().out
    assert "Standard deviation of the noise" in printed
    assert "dimension  7" in printed
    assert "[-10, 10] in every coordinate" in printed


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zotoolkit {zotoolkit.__version__}\n"
    for command in ("list", "describe", "run", "resume", "compare", "plot", "report"):
        assert main([command, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: zotoolkit {command}")


# run and resume ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_all_that_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = ["--set", "dim=2", "--set", "solver.lr=0.05", "--set", "solver.difference=central"]
    assert main([*RUN, "--budget", "2e2", "--seed", "3", *settings, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "ZO/SGD-CGE-v0 on Toy/Quadratic-v0, seed 3" in printed.out
    assert "after 200 queries" in printed.out
    assert printed.err == ""
    assert {"run.json", "result.json", "curve.csv", "checkpoint.safetensors"} <= {path.name for path in out.iterdir()}
    result = store.read_result(out)
    assert (result["queries"], result["dimension"]) == (200, 2)
    written = json.loads((out / "run.json").read_text())
    assert written["solver"]["settings"] == {"lr": 0.05, "difference": "central"}
    # A finished run has nothing left to do, and plot and report work on it.
    assert main(["resume", str(out)]) == 0
    assert "Nothing is left to do" in capsys.readouterr().out
    # More queries can be given to it, though.
    assert main(["resume", str(out), "--budget", "300", "--no-progress"]) == 0
    assert store.read_result(out)["queries"] == 300
    capsys.readouterr()
    assert main(["plot", str(out), "--format", "svg"]) == 0
    assert [Path(line).suffix for line in capsys.readouterr().out.splitlines()] == [".svg"] * 3
    assert main(["report", str(out), "--title", "Just one"]) == 0
    assert "<h1>Just one</h1>" in Path(capsys.readouterr().out.strip()).read_text()


def test_a_run_without_a_folder_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([*RUN, "--budget", "20"]) == 0
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(store.is_finished(folder) for folder in folders)
    assert "saved in runs/" in capsys.readouterr().out


def test_a_target_ends_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--budget", "5000", "--target", "0.1", "--out", str(tmp_path / "out")]) == 0
    assert "target loss has been reached" in capsys.readouterr().out
    assert store.read_result(tmp_path / "out")["queries"] < 5000


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert main([*RUN, "--budget", "40", "--tensorboard", "--out", str(tmp_path / "out")]) == 0
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))


def test_a_run_that_fails_exits_with_1(tmp_path: Path, complaint: Complaint) -> None:
    said = complaint(*RUN, "--budget", "500", "--set", "broken=true", "--out", str(tmp_path / "out"), code=1)
    assert "this problem is broken" in said


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, complaint: Complaint) -> None:
    arguments = [*RUN, "--budget", "20", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert f"`zotoolkit resume {tmp_path}`" in complaint(*arguments)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--budget", "0"], "budget must be an integer of at least 1, got 0"),
        (["--budget", "-3"], "budget must be an integer of at least 1, got -3"),
        (["--budget", "many"], "must be a whole number, such as 5000 or 5e3, got 'many'"),
        (["--budget", "1.5"], "must be a whole number"),
        (["--budget", "inf"], "must be a whole number"),
        ([], "Toy/Quadratic-v0 has no budget of its own: give --budget"),
        (["--budget", "9", "--seed", "-1"], "seed must be an integer in"),
        (["--budget", "9", "--set", "dmi=3"], "has no setting 'dmi'"),
        (["--budget", "9", "--set", "solver.lrr=3"], "Did you mean 'lr'?"),
        (["--budget", "9", "--set", "solver.lr=-1"], "lr must be a finite number above 0, got -1"),
        (["--budget", "9", "--set", "solver.lr=fast"], "got 'fast' (str)"),
        (["--budget", "9", "--set", "dim"], "key=value"),
        (["--budget", "9", "--set", "dim=2", "--set", "dim=3"], "'dim' is given twice"),
        (["--budget", "9", "--set", "solver.mu=100"], "mu is too large for the bounds"),
        (["--budget", "9", "--device", "tpu9"], "device must be 'cpu', 'cuda' or 'cuda:N', got 'tpu9'"),
        (["--budget", "9", "--bugdet", "3"], "unrecognized arguments"),
        (["--budget", "9", "--import", "no_such_module"], "cannot import no_such_module"),
    ],
)
def test_bad_usage_of_run(changed: list[str], said: str, tmp_path: Path, complaint: Complaint) -> None:
    assert said in complaint(*RUN, "--out", str(tmp_path / "out"), *changed)


def test_a_problem_with_a_solver_of_its_own_needs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready = ["run", "Toy/Ready-v0", "--import", TOYS, "--no-progress", "--set", "solver.lr=0.05"]
    assert main([*ready, "--out", str(tmp_path / "own")]) == 0
    assert capsys.readouterr().out.startswith("ZO/SGD-CGE-v0 on Toy/Ready-v0, seed 0\n")
    assert json.loads((tmp_path / "own" / "result.json").read_text())["queries"] == 40
    assert main([*ready[:-2], "--solver", "ZO/SPSA-v0", "--budget", "9", "--out", str(tmp_path / "given")]) == 0
    assert capsys.readouterr().out.startswith("ZO/SPSA-v0 on Toy/Ready-v0")
    assert json.loads((tmp_path / "given" / "run.json").read_text())["budget"] == 9


def test_a_problem_without_a_solver_of_its_own_says_so(tmp_path: Path, complaint: Complaint) -> None:
    plain = ["run", "Toy/Quadratic-v0", "--import", TOYS, "--out", str(tmp_path / "out")]
    assert "Toy/Quadratic-v0 has no solver of its own: give --solver" in complaint(*plain, "--budget", "9")
    assert not (tmp_path / "out").exists()


def test_the_defense_runs_with_what_it_names(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "zotoolkit-cache"))
    shorter = functools.partial(pretrain_autoencoder, epochs=1)
    monkeypatch.setattr("problems.defense.tasks.pretrain_autoencoder", shorter)
    small = ["depth=2", "width=2", "latent=2", "initial=random", "certified_images=3", "n=100", "baselines=false"]
    settings = [part for pair in [*small, "solver.iterations=2", "solver.q=1"] for part in ("--set", pair)]
    assert main(["run", "Defense/Digits-v0", "--no-progress", *settings, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Defense/ZO-AE-DS-v0 on Defense/Digits-v0, seed 0\n")
    assert "certified_0.25" in printed
    result = json.loads((tmp_path / "result.json").read_text())
    assert 0 <= result["metrics"]["certified_0.25"] <= result["metrics"]["certified_0"] <= 1
    assert (result["queries"], result["reason"]) == (5, "SOLVER_FINISHED")


def test_cuda_where_there_is_none(tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = complaint(*RUN, "--budget", "9", "--device", "cuda", "--out", str(tmp_path / "out"))
    assert "device 'cuda' is not available here" in said
    assert "use --device cpu" in said


def test_unknown_ids_come_with_a_suggestion(complaint: Complaint) -> None:
    problem = ["run", "Toy/Quadratik-v0", "--import", TOYS, "--budget", "9"]
    assert "Did you mean 'Toy/Quadratic-v0'?" in complaint(*problem, "--solver", "ZO/SPSA")
    solver = ["run", "Toy/Quadratic-v0", "--import", TOYS, "--budget", "9"]
    assert "Did you mean 'ZO/SGD-CGE-v0'?" in complaint(*solver, "--solver", "ZO/SGD-CEG-v0")
    assert "Did you mean 'ZO/SPSA" in complaint("describe", "ZO/SPAS-v0")
    assert "nothing matches 'quux'" in complaint("list", "quux")
    assert "Did you mean 'demo'?" in complaint("compare", "--suite", "dmo", "--out", "x")
    assert "invalid choice: 'rnu'" in complaint("rnu")
    assert "are required: COMMAND" in complaint()


def test_a_folder_that_cannot_be_written(tmp_path: Path, complaint: Complaint) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "out")
    assert "cannot write into the folder" in complaint(*RUN, "--budget", "9", "--out", out)
    assert "cannot write into the folder" in complaint(*COMPARE, "--budget", "9", "--out", out)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder(tmp_path: Path, complaint: Complaint) -> None:
    tmp_path.chmod(0o500)
    assert "cannot write into the folder" in complaint(*RUN, "--budget", "9", "--out", str(tmp_path / "out"))


def test_what_cannot_be_resumed(tmp_path: Path, complaint: Complaint) -> None:
    assert "there is no folder" in complaint("resume", str(tmp_path / "none"))
    assert "holds no run" in complaint("resume", str(tmp_path))
    out = tmp_path / "out"
    assert main([*RUN, "--budget", "20", "--out", str(out)]) == 0
    assert "must be above the run's 20 queries, got 20" in complaint("resume", str(out), "--budget", "20")
    (out / "result.json").unlink()
    checkpoint = out / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    assert "is damaged" in complaint("resume", str(out))
    whole = (out / "run.json").read_text()
    (out / "run.json").write_text(whole[:-20])
    assert "run.json is damaged" in complaint("resume", str(out))
    (out / "run.json").write_text(whole.replace('"seed": 0', '"seed": 1'))
    checkpoint.unlink()
    assert main(["resume", "--no-progress", str(out)]) == 0


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, complaint: Complaint) -> None:
    assert main([*RUN, "--budget", "20", "--out", str(tmp_path)]) == 0
    (tmp_path / "result.json").unlink()
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    assert "seed 0, this run has seed 1" in complaint("resume", "--no-progress", str(tmp_path))


def test_debug_shows_where(tmp_path: Path) -> None:
    with pytest.raises(zotoolkit.ZotoolkitError):
        main([*RUN, "--budget", "0", "--debug", "--out", str(tmp_path)])


def test_an_unexpected_error_is_one_line_too(complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("boom\nbang")

    monkeypatch.setattr("zotoolkit.cli.listing.check_imports", explode)
    said = complaint("list", code=1)
    assert "RuntimeError: boom bang" in said
    assert "--debug" in said


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def show(*_: object) -> None:  # pytest catches warnings before they are shown
        sys.stderr.write(warnings.formatwarning("mind\nthe step", UserWarning, "file.py", 3))

    monkeypatch.setattr("zotoolkit.cli.listing.check_imports", show)
    assert main(["list", "--solvers"]) == 0
    assert capsys.readouterr().err == "zotoolkit: warning: mind the step\n"


# compare, plot and report -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--out", "x"], "compare needs --problems, or a specification file, or --suite NAME"),
        ([*COMPARE, "--out", "x"], "compare needs --budget"),
        ([*COMPARE, "--budget", "5"], "required: --out"),
        ([*COMPARE, "--budget", "0", "--out", "x"], "budget must be an integer of at least 1"),
        ([*COMPARE, "--budget", "5", "--seeds", "a", "--out", "x"], "seeds reads 5 (which is 0 to 4), 3-7 or 1,4,9"),
        ([*COMPARE, "--budget", "5", "--jobs", "0", "--out", "x"], "jobs must be an integer of at least 1"),
        ([*COMPARE, "ZO/SPSA:a=-1", "--budget", "5", "--out", "x"], "a must be a finite number above 0"),
        (["compare", "none.json", "--out", "x"], "cannot read the specification none.json"),
        (["compare", "none.json", "--suite", "demo", "--out", "x"], "not both"),
        (["plot", "none"], "there is no folder none"),
        (["report", "."], "holds no results"),
        (["plot", ".", "--format", "gif"], "invalid choice: 'gif'"),
    ],
)
def test_bad_usage_of_compare(
    arguments: list[str], said: str, complaint: Complaint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in complaint(*arguments)
    assert not (tmp_path / "x").exists()


def test_a_comparison_whose_runs_all_fail_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"problems": ["Toy/Quadratic:broken=true"], "solvers": ["ZO/SGD-CGE"], "budget": 200, "imports": [TOYS]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    out = str(tmp_path / "out")
    command = ["compare", str(tmp_path / "spec.json"), "--seeds", "7-7", "--no-progress", "--out", out]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: 1 of 1 runs failed" in printed.err
    assert "this problem is broken" in printed.err
    assert main(["report", out]) == 2
    assert "all 1 runs that ended have failed" in capsys.readouterr().err


def test_plot_and_report_need_the_extra(tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    write_comparison(tmp_path, seeds=1, problems=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in ("plot", "report"):
        assert "pip install 'zotoolkit[plot]'" in complaint(command, str(tmp_path))


def test_parquet_needs_the_extra(tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = complaint(*COMPARE, "--budget", "5", "--parquet", "--out", str(tmp_path / "out"))
    assert "pip install 'zotoolkit[parquet]'" in said
