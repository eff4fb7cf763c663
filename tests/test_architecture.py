"""The house: data flows one way, and only a few rooms may touch torch. Read off the syntax trees, lazy imports included."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import weatherman

ROOT = Path(weatherman.__file__).parent

# From the ground up: a module imports only from its own floor and from those above it in this list.
FLOORS = {
    "ground": "errors clock process process_env messages records atomic disk_errors stop",
    "config": "config config_*",
    "data": "data data.*",
    "template": "template template_* tokenizer rough_tokenizer render render_* show model_place model_shape",
    "batching": "sampling batching passes schedule",
    "check": "data.check data.check.* data.publish",
    "checkpoint": "manifest quarantine checkpoint resume run_lock",
    "events": "events progress run_status status session_record adapter_place",
    "engine": "engine engine.*",
    "tracking": "tracking webhook",
    "planning": "memory planning plan_report plan_time",
    "run": "training_data evaluation effect provenance checkpoint_state run run_folder final_adapter",
    "report": "report report_*",
    "train": "train",
    "preflight": "preflight preflight.*",
    "launch": "launch launch_* session detach follow watch first_steps rehearsal power pod",
    "use": "weather_source weather_live tool_use chat chat_terminal compare modelfile export wandb_status",
    "commands": "commands commands.* cli __init__",
}
HEAVY = {"torch", "peft"}
MAY_BE_HEAVY = ("engine.torch_", "preflight.compute_")
# The packaged model is dequantised by the engine the first time that its folder is asked for.
LAZY_UPWARDS = {("model_place", "engine.torch_dequantise")}


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


def floor(name: str) -> int:
    """The floor a module stands on; of two patterns that match, the later one (a part of `data` stands higher)."""
    fits = [
        number for number, names in enumerate(FLOORS.values()) if any(fnmatchcase(name, one) for one in names.split())
    ]
    assert fits, f"{name} stands on no floor: give it a place in FLOORS"
    return fits[-1]


def test_every_floor_imports_only_from_those_below() -> None:
    trees = modules()
    wrong = [
        f"{name} imports {other}"
        for name, tree in trees.items()
        for other in own_imports(tree, set(trees))
        if floor(other) > floor(name) and (name, other) not in LAZY_UPWARDS
    ]
    assert not wrong, "; ".join(wrong)


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
