"""The house: data flows one way, and only a few rooms may touch torch. Read off the syntax trees, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import weatherman

ROOT = Path(weatherman.__file__).parent

# From the ground up: each room imports only from rooms before it, or from itself.
ROOMS = [
    "errors",
    "disk_errors",
    "clock",
    "messages",
    "records",
    "process",
    "atomic",
    "config",
    "data.strict_json",
    "data.fingerprint",
    "data.schema",
    "data.tools",
    "data.validate",
    "data.read",
    "data.split",
    "data.synth",
    "template_parts",
    "template_mistral",
    "template_smollm2",
    "template",
    "tokenizer",
    "render",
    "render_cache",
    "render_file",
    "show",
    "batching",
    "passes",
    "sampling",
    "schedule",
    "manifest",
    "quarantine",
    "checkpoint",
    "resume",
    "run_lock",
    "events",
    "progress",
    "run_status",
    "status",
    "engine",
]
HEAVY = {"torch", "peft"}
MAY_BE_HEAVY = ("engine.torch_", "preflight.compute_")
LAZY_HEAVY_ONLY = ("preflight.", "export", "planning", "final_adapter")


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below `weatherman`, parsed."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST) -> set[str]:
    """Absolute names of the modules that a tree imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(tree: ast.AST, known: set[str]) -> set[str]:
    """The package's modules that a tree imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("weatherman"):
            package = node.module.removeprefix("weatherman").removeprefix(".")
            for alias in node.names:
                inner = f"{package}.{alias.name}".removeprefix(".")
                found.add(inner if inner in known else package)
    return found & known


def test_no_module_imports_itself_in_a_circle() -> None:
    trees = modules()
    graph = {name: own_imports(tree, set(trees)) - {name} for name, tree in trees.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_lower_rooms_import_only_from_rooms_below_them() -> None:
    trees = modules()

    def rank(name: str) -> int | None:
        places = [i for i, room in enumerate(ROOMS) if name == room or name.startswith((f"{room}.", f"{room}_"))]
        return max(places, default=None)

    wrong = [
        f"{name} imports {other}"
        for name, tree in trees.items()
        if (mine := rank(name)) is not None
        for other in own_imports(tree, set(trees))
        if (theirs := rank(other)) is None or theirs > mine
    ]
    assert not wrong, "; ".join(wrong)


def test_every_room_of_the_list_is_there() -> None:
    names = set(modules())
    assert [room for room in ROOMS if room not in names] == []


def test_torch_stays_in_the_engine() -> None:
    outside = [
        name
        for name, tree in modules().items()
        if {one.split(".")[0] for one in imports(tree)} & HEAVY and not name.startswith(MAY_BE_HEAVY)
    ]
    assert outside == []


def test_pickle_and_remote_code_are_nowhere() -> None:
    for name, tree in modules().items():
        assert not imports(tree) & {"pickle", "dill", "cloudpickle", "joblib"}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword):
                assert node.arg != "trust_remote_code", name
                assert not (node.arg == "shell" and getattr(node.value, "value", False)), name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), name


def test_modules_and_functions_stay_small() -> None:
    long_modules = [name for name in modules() if (length := _length(name)) > 300 and length]
    assert long_modules == []
    long_functions = [
        f"{name}.{node.name} ({node.end_lineno - node.lineno + 1 - _docstring_lines(node)} lines)"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno
        if node.end_lineno - node.lineno + 1 - _docstring_lines(node) > 50
    ]
    assert long_functions == []


def _length(name: str) -> int:
    path = ROOT / Path(*name.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    return len(file.read_text(encoding="utf-8").splitlines())


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0
