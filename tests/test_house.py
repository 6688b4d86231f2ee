"""The house is in order: arrows run one way, files stay small, and what is easy to break is not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "zotoolkit").rglob("*.py"), *(ROOT / "problems").rglob("*.py")])
LIMIT = 400

# The floors of zotoolkit, lowest first: a part imports itself and what lies below it, nothing beside or above.
FLOORS = (
    {"cache_folder", "errors", "status"},
    {"checks", "files", "figures"},
    {"seeding", "spaces", "laws"},
    {"directions"},
    {"queries"},
    {"inner"},
    {"dispatch", "fingerprints", "engines"},
    {"structure", "query_models"},
    {"objective", "registration", "estimators", "masks", "optimizers", "checkpoint", "sharding"},
    {"artifacts"},
    {"callable_objective", "problem_registry", "wrappers", "solvers", "nn"},
    {"check_objective", "solver_registry", "interrupt", "run"},
    {"callbacks", "catalogue"},
    {"minimize"},
    {"testing", "compare"},
    {"certification"},
    {"cli"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def _runs_never(node: ast.AST) -> bool:
    """Whether the node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _runs_never(child):
            yield from _walk(child)


def _parse(path: Path) -> list[ast.AST]:
    return list(_walk(ast.parse(path.read_text(), filename=str(path))))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module, or member of a package, that is imported."""
    for node in _parse(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            whole = module in ("zotoolkit", "problems")
            yield from ((node.lineno, f"{module}.{alias.name}" if whole else module) for alias in node.names)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _dotted(node: ast.AST) -> str:
    """The name of `a.b.c`, empty for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", [p for p in MODULES if _name(p).startswith("zotoolkit")], ids=_name)
def test_imports_run_downwards(path: Path) -> None:
    mine = path.relative_to(ROOT / "zotoolkit").parts[0].removesuffix(".py")
    for line, module in _imports(path):
        package, _, rest = module.partition(".")
        assert package not in ("problems", "tests", "benchmarks"), f"{_name(path)}:{line} imports {module}"
        if module == "zotoolkit":  # the whole of it, for its version: from the top floors only
            assert FLOOR[mine] >= FLOOR["compare"], f"{_name(path)}:{line} imports all of zotoolkit"
            continue
        if package != "zotoolkit" or mine == "__init__":
            continue
        theirs = rest.partition(".")[0]
        assert theirs in FLOOR, f"{_name(path)}:{line} imports {module}, which has no place in FLOORS"
        assert mine in FLOOR, f"{mine} has no place in FLOORS"
        below = FLOOR[theirs] < FLOOR[mine]
        assert theirs == mine or below, f"{_name(path)}:{line} imports {module}, which is not below it"


# A defense stands in front of a network and takes images, both of which the family of deep networks has.
BUILT_ON = {"defense": {"dnn"}}


@pytest.mark.parametrize("path", [p for p in MODULES if _name(p).startswith("problems")], ids=_name)
def test_problems_do_not_import_each_other_nor_what_uses_them(path: Path) -> None:
    family = path.relative_to(ROOT / "problems").parts[0].removesuffix(".py")
    for line, module in _imports(path):
        package, _, rest = module.partition(".")
        head = rest.partition(".")[0]
        assert package not in ("tests", "benchmarks"), f"{_name(path)}:{line}"
        allowed = head == family or head in BUILT_ON.get(family, ())
        assert package != "problems" or allowed, f"{_name(path)}:{line} imports the family {head}"
        assert package != "zotoolkit" or head not in ("cli", "compare", "minimize"), f"{_name(path)}:{line}"


def test_only_strings_lead_from_zotoolkit_to_problems() -> None:
    texts = [path.read_text() for path in MODULES if _name(path) == "zotoolkit/catalogue.py"]
    assert '"problems.' in texts[0]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_files_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LIMIT, f"{_name(path)} has {lines} lines; split it"


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
# One file reads what others have pickled, by an unpickler that knows nothing but arrays and plain containers.
ALLOWED_MODULES = {("problems/dnn/data/cifar_pickles.py", "pickle")}
FORBIDDEN_CALLS = {
    "pickle.load": "unpickles whatever is named",
    "pickle.loads": "unpickles whatever is named",
    "pickle.Unpickler": "unpickles whatever is named",
    "eval": "evaluates text",
    "exec": "executes text",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "torch.load": "unpickles; use safetensors",
    "torch.save": "pickles; use safetensors",
    "torch.manual_seed": "seeds a global generator",
    "torch.seed": "seeds a global generator",
    "torch.cuda.manual_seed": "seeds a global generator",
    "torch.cuda.manual_seed_all": "seeds a global generator",
    "np.random.seed": "seeds a global generator",
    "numpy.random.seed": "seeds a global generator",
    "random.seed": "seeds a global generator",
}
# What has to be done somewhere: third-party optimisers draw from the global generators, so one context manager seeds
# them for what runs inside and puts back what was there.
ALLOWED = {("zotoolkit/solvers/isolation.py", "random.seed"), ("zotoolkit/solvers/isolation.py", "np.random.seed")}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_that_is_easy_to_break(path: Path) -> None:
    for node in _parse(path):
        where = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):  # pytest's words are right in a suite that others run with pytest
            assert _name(path).startswith("zotoolkit/testing/"), f"{where} asserts; raise an error that says what to do"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{where} imports a star"
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            allowed = name not in FORBIDDEN_CALLS or (_name(path), name) in ALLOWED
            assert allowed, f"{where} calls {name}, which {FORBIDDEN_CALLS.get(name)}"
            for keyword in node.keywords:
                true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg == "shell" and true), f"{where} runs a shell"
                assert not (keyword.arg == "allow_pickle" and true), f"{where} allows pickles"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where} catches everything, Ctrl-C included"
    for line, module in _imports(path):
        allowed = module.partition(".")[0] not in FORBIDDEN_MODULES or (_name(path), module) in ALLOWED_MODULES
        assert allowed, f"{_name(path)}:{line} imports {module}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [_name(path) for path in MODULES if ast.get_docstring(ast.parse(path.read_text())) is None]
    assert silent == []


def test_the_floors_name_what_there_is() -> None:
    parts = {
        path.relative_to(ROOT / "zotoolkit").parts[0].removesuffix(".py")
        for path in MODULES
        if "problems" not in _name(path)
    }
    assert parts - {"__init__"} <= set(FLOOR), "give the new part a place in FLOORS"
