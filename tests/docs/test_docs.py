"""The docs cannot rot: their commands run, their links, paths, options, codes and figures are those of the code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import weatherman
from command_line import weatherman as run_weatherman
from command_reference import PAGE, SHELL_SCRIPTS, command_reference
from doc_pages import GENERATED, PAGES, ROOT, Block, anchors, blocks, command_lines, links, quoted, shell_blocks
from launching import Project, project
from readme_parts import WITH_PARTS, filled_in
from sample_answers import as_markdown
from weatherman.messages import LINE, TAGS

OUR_WORDS = ("weatherman", "make", *(f"./{name}" for name in SHELL_SCRIPTS))
MADE_LATER = ("runs/", "logs/", "models/", "exported", "adapter/", "merged", "quarantine/", "data/processed/", ".venv")
CODE = re.compile(r"[a-z]+\.[a-z0-9]+(?:-[a-z0-9]+)*")
SUFFIXES = (
    "json",
    "jsonl",
    "txt",
    "css",
    "html",
    "lock",
    "safetensors",
    "csv",
    "yaml",
    "py",
    "sh",
    "md",
    "yml",
)
BLOCKS = {block.name: block for block in shell_blocks()}


def named(mark: str) -> list[str]:
    return [name for name, block in BLOCKS.items() if block.mark == mark]


@pytest.fixture(scope="module")
def place(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project folder in which a run has finished: a tiny one, under the name that the pages use."""
    root = tmp_path_factory.mktemp("docs")
    with project(root, tiny_source / "config.yaml") as made:
        for name in ("docs", "README.md", "tests"):  # no Makefile: make would write into this very environment
            (made.folder / name).symlink_to(ROOT / name)
        run = made.folder / "runs" / "demo"
        done = run_weatherman("train", "-c", made.config, "--set", f"output_dir={run}", cache=root / "cache")
        assert done.returncode == 0, done.stdout + done.stderr
        made.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{made.environ['PATH']}"
        made.environ["HOME"] = str(root)
        yield made


def run_block(block: Block, place: Project) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=place.folder, env=place.environ, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.name}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", named(""))
def test_shell_block_runs(name: str, place: Project) -> None:
    run_block(BLOCKS[name], place)


@pytest.mark.slow
@pytest.mark.parametrize("name", named("slow"))
def test_slow_shell_block_runs(name: str, place: Project) -> None:
    run_block(BLOCKS[name], place)


def test_the_python_of_the_deployment_guide_runs(place: Project, tiny_source: Path) -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / "DEPLOYMENT.md") if block.language == "python")
    adapter = str(place.folder / "runs" / "demo" / "adapter")
    base, code = str(tiny_source / "model"), block.text
    code = code.replace('Path("weatherman-adapter", ', f"Path({adapter!r}, ")
    for name, path in (("weatherman-adapter", adapter), ("mistralai/Mistral-7B-Instruct-v0.3", base)):
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(path))
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_blocks_that_are_not_run_say_why() -> None:
    for block in BLOCKS.values():
        assert bool(block.mark) == (len(block.reason.split()) >= 3), block.name
    assert named("")


@pytest.mark.parametrize("name", BLOCKS)
def test_commands_targets_and_options_exist(name: str) -> None:
    """Also in the blocks that cannot run here."""
    for line in command_lines(BLOCKS[name].text):
        for part in re.split(r"\s*(?:&&|\|\||[|;]|\$\()\s*", line):
            check_command(part, name)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=lambda page: page.name)
def test_commands_in_the_prose_exist(page: Path) -> None:
    for text in quoted(page):
        if text.split()[0] in OUR_WORDS and "…" not in text:
            check_command(re.sub(r"\[[^]]*\]", "", text), page.name)


def check_command(part: str, where: str) -> None:
    try:
        words = shlex.split(part, comments=True)
    except ValueError:
        words = part.split()
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if not words or words[0] not in OUR_WORDS or len(words) == 1:
        return
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(word in targets for word in words[1:] if "=" not in word), f"{where}: {part}"
        return
    helps = sections()
    title = words[0]
    for word in words[1:]:
        if f"{title} {word}" not in helps:
            break
        title = f"{title} {word}"
    assert title != "weatherman" or words[1].startswith("--"), f"{where}: there is no command {part!r}"
    for word in words[1:]:
        if word.startswith("-") and len(word) > 1:
            option = word.partition("=")[0]
            known = re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", helps[title])
            assert known or option in ("--debug", "--version"), f"{where}: {title} has no {option}"


def sections() -> dict[str, str]:
    """The command reference by title."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^## ([^\n]+)\n\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def test_the_command_reference_is_what_help_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == command_reference(), (
        "write it again: python tests/support/command_reference.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_the_prose_exist(page: Path) -> None:
    for text in quoted(page):
        if re.fullmatch(r"\.?/?[\w.-]+(/[\w.*-]+)*/?", text) and ("/" in text or text.endswith((".sh", ".py"))):
            path = text.removeprefix("./")
            if path.startswith(MADE_LATER) or text.startswith("/"):
                continue
            places = (ROOT, ROOT / "scripts", ROOT / "src" / "weatherman")
            found = any(any(place.glob(path.rstrip("/"))) for place in places)
            assert found or path in PATHS_ELSEWHERE, f"{page.name}: {text}"


PATHS_ELSEWHERE: frozenset[str] = frozenset(
    {"mistralai/Mistral-7B-Instruct-v0.3", "plugins/anythingllm_mcp_servers.json"}
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_printed_lines_keep_the_grammar(page: Path) -> None:
    for block in blocks(page):
        for line in block.text.splitlines() if block.language == "text" else ():
            if line.startswith(("[", "✅", "⚠", "❌")) and not line.startswith("[OPTIONS]"):
                assert LINE.match(line), f"{block.name}: {line}"


def test_every_tag_is_documented() -> None:
    assert set(TAGS) <= set(quoted(ROOT / "docs" / "AGENTS.md"))


def test_every_error_code_is_documented_and_no_other() -> None:
    page = ROOT / "docs" / "ERRORS.md"
    documented = {text for text in quoted(page) if CODE.fullmatch(text) and text.split(".")[1] not in SUFFIXES}
    groups = {code.split(".")[0] for code in documented}
    written, texts = set(), ""
    for path in Path(weatherman.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        texts += text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and called(node) in ("WeathermanError", "Problems", *VERDICTS) and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and CODE.fullmatch(str(code.value)):
                    written.add(str(code.value))
    assert len(written) > 80
    assert written - documented == set()
    assert groups >= {code.split(".")[0] for code in written}
    unknown = [code for code in documented - written if f'"{code}"' not in texts and code not in COMPUTED_CODES]
    assert unknown == []


VERDICTS = ("ok", "warn", "fail", "unknown")
COMPUTED_CODES = ("cpu.compute", "cuda.compute", "mps.compute", "config.train-file", "config.validation-file")


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def test_pages_speak_of_this_project_alone() -> None:
    for page in (page for page in PAGES if page.name not in GENERATED):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/work/|/tmp/(?!weatherman)|\bTODO\b|\bTBD\b", text), page.name


@pytest.mark.parametrize("page", WITH_PARTS, ids=lambda page: page.name)
def test_measured_parts_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == filled_in(page), "write them again: python tests/support/readme_parts.py"
    assert '"$2–3"; at $2 to $3 an hour it is $6 to $12' in text
    assert text.count("**estimate**") == 2


def test_the_roadmap_names_its_items() -> None:
    text = (ROOT / "docs" / "ROADMAP.md").read_text(encoding="utf-8")
    assert "| 8. Style-Only Training | MERGED" in text
    assert "| 10. Combined Style+Tool-Use Training | MERGED" in text
    assert "| **Item 8+10: Combined Style+Tool-Use Training** | IN PROGRESS |" in text
    assert all(words in text for words in ("16,000 examples", "69 %", "Dual-platform scripts", "(SPEC.md)"))


def test_every_requirement_of_the_specification_names_a_file_and_a_test() -> None:
    page = ROOT / "docs" / "SPEC.md"
    rows = [
        line.split(" | ")
        for line in page.read_text(encoding="utf-8").splitlines()
        if "](../" in line and line[0] == "|"
    ]
    assert len(rows) > 35
    for row in rows:
        assert len(row) == 3, row
        assert "](" in row[1], row
        assert re.search(r"\]\((\.\./tests/[\w/]+\.py)\)", row[2]), row


def test_sample_answers_are_written_word_for_word() -> None:
    facts = {"base_model": "b", "adapter": "runs/demo/adapter", "tool_source": "made-up", "persona": "twain"}
    call = {"name": "get_forecast", "arguments": {"days": 3}, "valid": False, "result": {}}
    good = {**facts, "question": "Rain?", "answer": "Some.\nOr none.", "calls": [call], "problem": ""}
    text = as_markdown([good, {**good, "answer": "", "calls": [], "problem": "it never stopped"}])
    assert (
        '**twain**: Rain?\n\n- called `get_forecast({"days": 3})` (refused: not a valid call)\n\n> Some.\n> Or none.\n'
        in text
    )
    assert text.endswith("> (no answer: it never stopped)\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "pages"), [((), ("README.md", "docs/TRAINING_M4.md")), (("max_steps=400",), ("docs/TRAINING_M4.md",))]
)
def test_the_hours_of_the_m4_are_those_of_the_plan(
    overrides: tuple[str, ...], pages: tuple[str, ...], tmp_path: Path
) -> None:
    files = [f"{side}_file={ROOT}/data/synthetic/final_{side}.jsonl" for side in ("train", "validation")]
    words = [word for override in (*files, *overrides) for word in ("--set", override)]
    plan = run_weatherman(
        "plan", "--config", ROOT / "configs" / "training_config_m4.yaml", *words, "--json", cache=tmp_path
    )
    found = json.loads(plan.stdout)
    hours = "{:.0f} to {:.0f} hours".format(*(second / 3600 for second in found["time_s"]))
    for page in pages:
        assert hours in (ROOT / page).read_text(encoding="utf-8"), hours
    if not overrides:
        assert f"{found['memory']['total'] / 2**30:.1f} GB estimated" in (ROOT / pages[1]).read_text(encoding="utf-8")


def test_every_stop_that_the_architecture_names_is_there() -> None:
    """Files and what is defined in them, read off their syntax trees."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+\.py)(?::(\w+))?`", text)
    assert len(named) > 40
    for file, name in named:
        path = Path(weatherman.__file__).parent / file
        assert path.is_file(), file
        defined = {getattr(node, "name", "") for node in ast.parse(path.read_text(encoding="utf-8")).body}
        assert not name or name in defined, f"{file} has no {name}"
    rooms = {path.parent.name for path in Path(weatherman.__file__).parent.glob("*/__init__.py")}
    shown = re.findall(r"[ \[\"]([a-z]+)(?:, ([a-z]+))?: ", drawn(ROOT / "docs" / "ARCHITECTURE.md"))
    assert {name for names in shown for name in names if name} <= rooms


def test_the_diagram_of_the_readme_is_that_of_the_architecture() -> None:
    assert drawn(ROOT / "README.md") == drawn(ROOT / "docs" / "ARCHITECTURE.md") != ""


def drawn(page: Path) -> str:
    """The diagram of a page."""
    (block,) = (block.text for block in blocks(page) if block.language == "mermaid")
    return block
