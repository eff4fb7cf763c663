"""The floor plan: which room may import which, read off the syntax trees, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import weatherman

ROOT = Path(weatherman.__file__).parent

# At the root stands only what the whole house uses, the training loop and the command line.
GROUND = "errors messages records progress"
AT_THE_ROOT = {*GROUND.split(), "train", "cli", "__init__"}

# From the ground up: each room, and the rooms that it may import besides the ground. All of them stand above it here.
ROOMS = {
    "system": "",
    "config": "",
    "data": "system",
    "rendering": "system data",
    "steps": "",
    "models": "system rendering",
    "checkpoints": "system",
    "quality": "system data rendering steps",
    "task": "system data rendering",
    "tools": "data",
    "weather": "system quality tools",
    "engine": "config steps models",
    "chat": "rendering task tools",
    "planning": "config data rendering steps models engine",
    "run": "system config data rendering task steps models checkpoints engine planning",
    "export": "system data rendering task tools models engine",
    "effect": "system config task tools models engine run",
    "preflight": "config data models planning run",
    "launch": "system config models checkpoints planning run preflight",
    "report": "system config run effect",
    "train": "system config steps engine run effect report",
    "commands": "config data rendering models task tools quality weather engine chat planning run export preflight launch report train",
    "cli": "system commands",
}
HEAVY = {"torch", "peft"}
# The packaged model is dequantised when its folder is first asked for; one check runs a kernel to see whether it runs.
MAY_BE_HEAVY = ("engine.torch.", "models.dequantise", "preflight.compute_test")
MLX = {"mlx", "mlx_lm"}
# The engine that runs is chosen in one place; commands that need one engine's own skills ask for it by name.
OPENS_ENGINES = "engine.choose"


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
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here: a room's name may be a library's"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(tree: ast.AST, known: set[str]) -> set[str]:
    """The package's modules that a tree imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "weatherman":
            package = node.module.removeprefix("weatherman").removeprefix(".")
            for alias in node.names:
                inner = f"{package}.{alias.name}".removeprefix(".")
                found.add(inner if inner in known else package)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("weatherman.") for alias in node.names}
    return found & known


def room(name: str) -> str:
    """The room a module is in: the package's first folder, or the module itself at the root."""
    return name.split(".")[0]


def arrows(trees: dict[str, ast.Module]) -> list[tuple[str, str]]:
    """Every import between the package's modules, (who, whom)."""
    return [(name, other) for name, tree in trees.items() for other in own_imports(tree, set(trees)) - {name}]


def find_circle(graph: dict[str, set[str]]) -> str:
    """A circle of a graph in words; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> str:
        if name in path:
            return " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, (*path, name)):
                    return found
            done.add(name)
        return ""

    return next((found for name in sorted(graph) if (found := visit(name, ()))), "")


def test_a_circle_would_be_found() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == "b -> c -> b"
    assert find_circle({"a": {"b", "c"}, "b": {"c"}}) == ""


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, other in arrows(modules()):
        graph.setdefault(name, set()).add(other)
    assert find_circle(graph) == ""


def test_every_module_is_in_a_room() -> None:
    rooms = {room(name) for name in modules()}
    assert rooms == {*ROOMS, *AT_THE_ROOT}, rooms ^ {*ROOMS, *AT_THE_ROOT}
    assert {path.stem for path in ROOT.glob("*.py")} == AT_THE_ROOT


def test_the_plan_itself_has_no_arrow_upwards() -> None:
    above = GROUND.split()
    for name, allowed in ROOMS.items():
        assert set(allowed.split()) <= set(above), name
        above.append(name)


def test_every_room_imports_only_what_the_plan_allows() -> None:
    trees = modules()
    wrong = [
        f"{name} imports {other}"
        for name, other in arrows(trees)
        if room(other) not in (room(name), *GROUND.split(), "__init__")
        and room(other) not in ROOMS.get(room(name), "").split()
    ]
    assert not wrong, "; ".join(wrong)


def test_the_plan_allows_no_more_than_is_used() -> None:
    used = {(room(name), room(other)) for name, other in arrows(modules())}
    idle = [
        f"{name}: {other}" for name, allowed in ROOMS.items() for other in allowed.split() if (name, other) not in used
    ]
    assert idle == []


def test_only_the_commands_know_the_weather() -> None:
    knowing = {
        name
        for name, other in arrows(modules())
        if room(other) == "weather" and room(name) not in ("weather", "commands")
    }
    assert knowing == set()


def test_the_faces_of_the_rooms_import_nothing_and_say_what_they_are_for() -> None:
    for path in ROOT.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imports(tree), path
        assert ast.get_docstring(tree), path


def test_torch_stays_in_the_engine() -> None:
    outside = [
        name
        for name, tree in modules().items()
        if {one.split(".")[0] for one in imports(tree)} & HEAVY and not name.startswith(MAY_BE_HEAVY)
    ]
    assert outside == []


def test_mlx_stays_in_its_room() -> None:
    outside = [
        name
        for name, tree in modules().items()
        if {one.split(".")[0] for one in imports(tree)} & MLX and not name.startswith("engine.mlx.")
    ]
    assert outside == []


def test_nothing_but_the_choice_knows_which_engine_trains() -> None:
    pairs = arrows(modules())
    knowing = {
        name
        for name, other in pairs
        if other in ("engine.torch.engine", "engine.mlx.engine")
        and not name.startswith(("engine.torch.", "engine.mlx."))
    }
    assert knowing == {OPENS_ENGINES}
    between = [
        (name, other)
        for name, other in pairs
        if {".".join(one.split(".")[:2]) for one in (name, other)} == {"engine.torch", "engine.mlx"}
    ]
    assert between == []


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
