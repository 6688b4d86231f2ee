"""Registries: ids, versions, settings, suggestions, and problems that another distribution brings along."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, EntrySpec
from zotoolkit.errors import EntryPointFailed, InvalidId, InvalidSetting, UnknownId, UnknownSetting
from zotoolkit.registration import Registry, check_settings, format_specs


class Bowl(BlackBoxObjective):
    def __init__(self, dim: int = 2, *, depth: float = 1.0, weights: tuple[float, ...] = ()) -> None:
        super().__init__(zotoolkit.make_space(dim))
        self.depth, self.weights = depth, weights

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return (x**2).sum(dim=1) - self.depth


@pytest.fixture
def registry() -> Registry[BlackBoxObjective]:
    registry: Registry[BlackBoxObjective] = Registry("problem", "zotoolkit.nobody")
    registry.register("Toys/Bowl-v0", Bowl, description="a bowl")
    registry.register("Toys/Bowl-v2", Bowl, kwargs={"depth": 2.0}, description="a deeper bowl")
    registry.register("Toys/Deep-Bowl-v10", Bowl, kwargs={"depth": 9.0})
    registry.register("Toys/Deep-Bowl-v9", Bowl)
    return registry


# Making ---------------------------------------------------------------------------------------------------------------


def test_settings_of_the_caller_come_on_top(registry: Registry[Any]) -> None:
    made = registry.make("Toys/Bowl-v2", dim=5)
    assert (made.dim, made.depth) == (5, 2.0)
    assert registry.make("Toys/Bowl-v2", depth=7.0).depth == 7.0


def test_what_is_made_knows_how(registry: Registry[Any]) -> None:
    made = registry.make("Toys/Bowl", dim=5)
    assert made.spec == EntrySpec("Toys/Bowl-v2", Bowl, {"depth": 2.0, "dim": 5}, "a deeper bowl")
    assert repr(made) == "<Bowl Toys/Bowl-v2: d=5, float32, cpu>"


def test_a_problem_may_name_its_solver_and_budget(registry: Registry[Any]) -> None:
    registry.register("Toys/Ready-v0", Bowl, solver="ZO/SGD-CGE-v0", budget=300)
    spec = registry.make("Toys/Ready-v0", dim=3).spec
    assert (spec.solver, spec.budget, spec.kwargs) == ("ZO/SGD-CGE-v0", 300, {"dim": 3})
    assert (registry.spec("Toys/Bowl").solver, registry.spec("Toys/Bowl").budget) == (None, None)
    registry.register("Toys/Ready-v0", Bowl, solver="ZO/SGD-CGE-v0", budget=300)
    with pytest.raises(InvalidSetting, match="registered already"):
        registry.register("Toys/Ready-v0", Bowl, solver="ZO/SPSA-v0", budget=300)


@pytest.mark.parametrize("solver", ["SGD", "", 3, Bowl])
def test_a_solver_that_is_no_id(registry: Registry[Any], solver: Any) -> None:
    with pytest.raises(InvalidId, match="solver must be the id of one"):
        registry.register("Toys/Ready-v0", Bowl, solver=solver)


@pytest.mark.parametrize("budget", [0, -1, 1.5, "300", True])
def test_a_budget_that_is_none(registry: Registry[Any], budget: Any) -> None:
    with pytest.raises(InvalidSetting, match="budget must be an integer of at least 1"):
        registry.register("Toys/Ready-v0", Bowl, budget=budget)


def test_what_comes_along_names_solvers_that_there_are() -> None:
    own = [spec for spec in zotoolkit.problem_registry.objectives.specs() if spec.solver is not None]
    assert {spec.id for spec in own} >= {"Defense/Digits-v0", "Defense/CIFAR10-v0"}
    for spec in own:
        assert spec.budget is not None
        zotoolkit.solver_spec(str(spec.solver))


def test_without_a_version_the_newest(registry: Registry[Any]) -> None:
    assert registry.spec("Toys/Bowl").id == "Toys/Bowl-v2"
    assert registry.spec("Toys/Deep-Bowl").id == "Toys/Deep-Bowl-v10"
    spec = registry.spec("Toys/Deep-Bowl")
    assert (spec.family, spec.key, spec.version) == ("Toys", "Toys/Deep-Bowl", 10)


def test_an_entry_point_is_imported_when_it_is_made(registry: Registry[Any], tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "lazy_bowl.py").write_text("import zotoolkit\ndef make(dim=3):\n    return bowl(dim)\n" + BOWL)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.register("Toys/Lazy-v0", "lazy_bowl:make")
    registry.specs()
    assert "lazy_bowl" not in sys.modules
    assert registry.make("Toys/Lazy-v0", dim=4).dim == 4


BOWL = """
def bowl(dim):
    return zotoolkit.from_callable(lambda x: float((x**2).sum()), dim=dim)
"""


def test_made_things_do_not_share_settings_with_the_registry() -> None:
    registry: Registry[Any] = Registry("problem", "zotoolkit.nobody")
    mine: dict[str, Any] = {"weights": [1.0]}
    registry.register("Toys/Bowl-v0", Bowl, kwargs=mine)
    mine["weights"].append(2.0)
    registry.make("Toys/Bowl-v0").weights.append(3.0)
    assert registry.make("Toys/Bowl-v0").weights == [1.0]


def test_listing(registry: Registry[Any]) -> None:
    assert [spec.id for spec in registry.specs()] == [
        "Toys/Bowl-v0",
        "Toys/Bowl-v2",
        "Toys/Deep-Bowl-v10",
        "Toys/Deep-Bowl-v9",
    ]
    lines = format_specs(registry.specs()).splitlines()
    assert lines[:2] == ["===== Toys =====", "Toys/Bowl-v0        a bowl"]
    assert format_specs([]) == ""


def test_pprint_registry_lists_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    zotoolkit.pprint_registry()
    zotoolkit.pprint_solvers()
    out = capsys.readouterr().out
    assert "===== ZO =====" in out
    assert "ZO/SGD-CGE-v0" in out


def test_a_family_is_listed_when_it_is_asked_for() -> None:
    registry: Registry[Any] = Registry("problem", "zotoolkit.nobody")
    asked: list[str] = []

    def entries() -> Iterator[EntrySpec]:
        asked.append("Many")
        yield from (EntrySpec(f"Many/Bowl{i}-v0", Bowl, {"dim": i}) for i in range(1, 4))

    registry.register_family("Many", entries)
    registry.register("Toys/Bowl-v0", Bowl)
    registry.make("Toys/Bowl-v0")
    assert asked == []
    assert registry.make("Many/Bowl3").dim == 3
    assert len(registry.specs()) == 4
    assert asked == ["Many"]


# What cannot be found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("Toys/Bowel-v0", r"no problem 'Toys/Bowel-v0'\. Did you mean 'Toys/Bowl-v0'\?"),
        ("Toys/bowl", r"Did you mean 'Toys/Bowl'\?"),
        ("Tois/Bowl-v0", r"no problem family 'Tois' .*families: Toys\. Did you mean 'Toys/Bowl-v0'\?"),
        ("Toys/Bowl-v1", r"no version of problem Toys/Bowl fits 'Toys/Bowl-v1'; there is v0, v2\."),
        ("Toys/Something-else-v0", r"no problem 'Toys/Something-else-v0'\. `zotoolkit list` shows all"),
    ],
)
def test_unknown_ids_are_told_with_the_closest(registry: Registry[Any], id: str, message: str) -> None:
    with pytest.raises(UnknownId, match=message):
        registry.make(id)


def test_unknown_ids_of_the_real_registries() -> None:
    with pytest.raises(UnknownId, match="Did you mean 'ZO/SGD-CGE"):
        zotoolkit.make_solver("ZO/SGD-CEG-v0")
    with pytest.raises(UnknownId, match="Nothing/Here-v0"):
        zotoolkit.make("Nothing/Here-v0")
    assert zotoolkit.solver_spec("ZO/SPSA").id == "ZO/SPSA-v0"


@pytest.mark.parametrize("id", ["Bowl", "Bowl-v0", "", "A/B/C-v0", "A/-v0", "Toys/Bowl-v0\n", "Toys /Bowl-v0", None, 3])
def test_what_reads_like_no_id(registry: Registry[Any], id: Any) -> None:
    with pytest.raises(InvalidId, match="reads 'Family/Name-vN', such as 'Toys/Bowl-v0', got"):
        registry.spec(id)


@pytest.mark.parametrize("id", ["Bowl", "Toys/Bowl", "Toys/Bowl-v", "Toys/Bowl-vx", "Toys/Bowl-v0\n", "Toys/-v0", 3])
def test_ids_that_cannot_be_registered(registry: Registry[Any], id: Any) -> None:
    with pytest.raises(InvalidId, match="an id reads 'Family/Name-vN'"):
        registry.register(id, Bowl)


def test_an_id_is_registered_once(registry: Registry[Any]) -> None:
    registry.register("Toys/Bowl-v0", Bowl, description="a bowl")  # the same again is no other
    with pytest.raises(InvalidSetting, match="'Toys/Bowl-v0' is registered already"):
        registry.register("Toys/Bowl-v0", Bowl, kwargs={"depth": 3.0})


@pytest.mark.parametrize("entry_point", ["module", ":attribute", "module:", "a:b:c", "mod ule:x", 3, None])
def test_entry_points_that_are_none(registry: Registry[Any], entry_point: Any) -> None:
    with pytest.raises(InvalidSetting, match="Toys/New-v0: entry_point must"):
        registry.register("Toys/New-v0", entry_point)


@pytest.mark.parametrize("entry_point", ["no_such_module_here:f", "zotoolkit:no_such_attribute"])
def test_entry_points_that_lead_nowhere(registry: Registry[Any], entry_point: str) -> None:
    registry.register("Toys/New-v0", entry_point)
    with pytest.raises(EntryPointFailed, match=f"Toys/New-v0: cannot load '{entry_point}'"):
        registry.make("Toys/New-v0")


# Settings -------------------------------------------------------------------------------------------------------------


def test_unknown_settings_are_told_with_the_closest(registry: Registry[Any]) -> None:
    message = r"Toys/Bowl-v0 has no setting 'dephth'; settings: dim, depth, weights\. Did you mean 'depth'\?"
    with pytest.raises(UnknownSetting, match=message):
        registry.make("Toys/Bowl-v0", dephth=3.0)
    with pytest.raises(UnknownSetting, match=r"Did you mean 'momentum'\?"):
        zotoolkit.make_solver("ZO/SGD-CGE-v0", momentun=0.5)


def test_settings_that_are_missing() -> None:
    def build(dim: int, *rest: int, depth: float, **others: float) -> None: ...

    check_settings(build, {"dim": 1, "depth": 2.0, "anything": 3.0}, "it")
    with pytest.raises(UnknownSetting, match="it needs the setting 'depth'"):
        check_settings(build, {"dim": 1}, "it")


def test_gathered_arguments_are_no_settings() -> None:
    def build(dim: int = 1, *rest: int) -> None: ...

    with pytest.raises(UnknownSetting, match=r"it has no setting 'rest'; settings: dim\."):
        check_settings(build, {"rest": 3}, "it")


# Third parties --------------------------------------------------------------------------------------------------------

PLUGIN = """
import torch, zotoolkit

class Valley(zotoolkit.BlackBoxObjective):
    def __init__(self, dim: int = 2):
        super().__init__(zotoolkit.make_space(dim))
    def evaluate(self, x, context):
        return x[:, 0] ** 2

zotoolkit.register("Mountains/Valley-v0", "mountains.problems:Valley", description="from elsewhere")
"""


def distribution(folder: Path, name: str, entry_points: str, modules: dict[str, str]) -> None:
    """Write an installed distribution: packages with modules and a .dist-info as pip leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        path = folder / Path(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)


def python(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_problems_of_another_distribution_are_found(tmp_path: Path) -> None:
    points = "[zotoolkit.problems]\nmountains = mountains.problems\n"
    distribution(tmp_path, "mountains", points, {"mountains.problems": PLUGIN})
    run = python(
        tmp_path,
        "import zotoolkit\n"
        "assert 'mountains' not in sys.modules, 'importing zotoolkit imports no plug-in'\n"
        "objective = zotoolkit.make('Mountains/Valley', dim=7)\n"
        "print(objective)\n"
        "zotoolkit.pprint_registry()\n",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("<Valley Mountains/Valley-v0: d=7, float32, cpu>")
    assert "===== Mountains =====" in run.stdout
    assert "from elsewhere" in run.stdout


def test_a_plug_in_that_breaks_is_named_and_the_others_work(tmp_path: Path) -> None:
    distribution(tmp_path, "broken", "[zotoolkit.problems]\nbroken = broken.nowhere\n", {"broken.other": ""})
    points = "[zotoolkit.problems]\nmountains = mountains.problems\n"
    distribution(tmp_path, "mountains", points, {"mountains.problems": PLUGIN})
    run = python(tmp_path, "import zotoolkit\nprint(zotoolkit.make('Mountains/Valley-v0'))")
    assert run.returncode == 0, run.stderr
    assert "plug-in 'broken' (broken.nowhere) could not be loaded: No module named 'broken.nowhere'" in run.stderr
    assert "Valley" in run.stdout


def test_solvers_of_another_distribution_are_found(tmp_path: Path) -> None:
    plugin = (
        "import zotoolkit\n"
        "zotoolkit.register_solver('Mountains/Goat-v0', 'zotoolkit.solvers.recipes:spsa', kwargs={'a': 0.5})\n"
    )
    distribution(tmp_path, "goats", "[zotoolkit.solvers]\ngoats = goats.climb\n", {"goats.climb": plugin})
    run = python(tmp_path, "import zotoolkit\nprint(zotoolkit.make_solver('Mountains/Goat', c=0.2))")
    assert run.stdout.strip() == "<GradientSolver Mountains/Goat-v0>", run.stderr


def test_registering_by_the_top_level_functions() -> None:
    zotoolkit.register("ToysOfThisTest/Bowl-v0", Bowl, kwargs={"dim": 3}, description="a bowl")
    assert zotoolkit.spec("ToysOfThisTest/Bowl").description == "a bowl"
    made = zotoolkit.make("ToysOfThisTest/Bowl-v0")
    assert made.step(zotoolkit.DenseBatch.at(torch.ones(1, 3)))[0].item() == 2.0
