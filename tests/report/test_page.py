"""The report: every figure in it comes from the run's folder, nothing in it comes from elsewhere or can act."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from weatherman.config.schema import TrainingConfig, resolved
from weatherman.errors import WeathermanError
from weatherman.report import page as module
from weatherman.report.charts import Line, chart, moving_mean, nice_ticks, step_ticks, thin_out
from weatherman.report.page import make_report, render_page, write_report
from weatherman.report.run_data import read_run
from weatherman.run.spending import Spending

EVIL = "<script>alert(1)</script>\"'&\x1b[2J"
SEEN = [
    {"role": "system", "content": "You are a pilot.", "tool_calls": []},
    {"role": "user", "content": "Is it foggy?", "tool_calls": []},
    {"role": "assistant", "content": None, "tool_calls": [{"name": "see", "arguments": {"far": EVIL}}]},
    {"role": "tool", "content": '{"visibility_m": 40}', "tool_calls": []},
]


def at(minute: float) -> str:
    return f"2026-03-01T10:{int(minute):02d}:{int(minute % 1 * 60):02d}.000+00:00"


def make_run(folder: Path, text: str = "Fog, sir.") -> Path:
    """A run of two attempts: 30 steps, killed after the 20th, resumed from the 15th, finished; costs known."""
    events: list[dict[str, Any]] = [{"time": at(0), "attempt": 1, "kind": "start", "step": 0}]
    for step in range(1, 21):
        events.append(_step(step, 1, step / 2))
        if step in (10, 15):
            events.append({"time": at(step / 2), "attempt": 1, "kind": "checkpoint", "step": step,
                           "name": f"checkpoint-{step}", "seconds": 0.25})  # fmt: skip
    events.append({"time": at(20), "attempt": 2, "kind": "start", "step": 20})
    events.append({"time": at(20), "attempt": 2, "kind": "quarantine", "name": "checkpoint-20", "reason": text})
    events.append({"time": at(20.5), "attempt": 2, "kind": "resume", "step": 15})
    for step in range(16, 31):
        events.append(_step(step, 2, 20.5 + (step - 15) / 2))
    events.append({"time": at(28), "attempt": 2, "kind": "validation", "step": 30, "loss": 1.25})
    events.append({"time": at(30), "attempt": 2, "kind": "finish", "step": 30, "seconds": 600.0})
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(event) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"torn')
    config = resolved(TrainingConfig(run_name="a night's run", hourly_rate=3.0, lora_r=32)) | {"output_dir": text}
    run = {
        "run_id": "run-7", "weatherman": "1.2.3", "git_commit": "abc123", "python": "3.11.2", "config": config,
        "engine": {"device_name": "a device", "dtype": "float32"}, "hardware": {"system": "Linux", "num_cpus": 2},
        "frozen": {"data": "d" * 64, "template": "e" * 64, "tokenizer": "f" * 64, "versions": {"torch": "2.13.0"}},
        "argv": ["train", "--config", text],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    effect = {
        name: {
            "validation_loss": loss,
            "tools": {"num_prompts": 20, "num_valid": valid, "num_right_tool": max(0, valid - 2)},
            "samples": [{"persona": "twain", "prompt": "Is it foggy?", "answer": f"{name}: {text}", "messages": SEEN}],
        }
        for name, loss, valid in (("before", 2.5, 1), ("after", 1.25, 18))
    }
    (folder / "effect.json").write_text(json.dumps(effect))
    return folder


def _step(step: int, attempt: int, minute: float) -> dict[str, Any]:
    return {
        "time": at(minute), "attempt": attempt, "kind": "step", "step": step, "loss": 3 / (1 + step / 10) + attempt / 10,
        "learning_rate": 1e-3 * math.sin(step / 31 * math.pi), "grad_norm": 1 + math.sin(step), "num_effective_tokens": 1000,
        "tokens_per_s": 250 + 20 * math.cos(step), "peak_memory_bytes": (2 + step // 10) * 2**29,
    }  # fmt: skip


class Page(HTMLParser):
    """Collects tags, attributes and text, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "br") and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_figures_are_those_of_the_folder(tmp_path: Path) -> None:
    data = read_run(make_run(tmp_path / "run"))
    assert sorted(data.steps) == list(range(1, 31))
    assert data.steps[16]["loss"] == pytest.approx(3 / 2.6 + 0.2)  # of the second attempt, which counts
    assert data.num_tokens == 35_000
    assert data.spending == Spending((10 + 10) * 60, pytest.approx(1.0))
    assert data.spending.hourly_rate == pytest.approx(3.0)
    assert data.resumed_steps == [15]
    text = Page(render_page(data)).text
    for figure in ("1.2500", "-1.2500 from 2.5000", "18 of 20", "1 before", "The right tool", "16 of 20", "30", "in 2 attempts", "35,000 tokens in all",
                   "2.5 GB", "$1.00", "$3.00 an hour × 0.33 h", "run-7", "abc123", "d" * 64, "e" * 64, "2.13.0",
                   "goes on after step 15", "checkpoint-20 set aside: Fog, sir.", "before: Fog, sir.", "after: Fog, sir.",
                   "a night's run", "lora_r", "2026-03-01 10:20:30 UTC"):  # fmt: skip
        assert figure in text, figure


def test_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    html = render_page(read_run(make_run(tmp_path)))
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "form", "base", "use", "image"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("href", "src", "srcset", "action", "style", "xlink:href")
        assert "default-src 'none'" in str(value) or "://" not in str(value)
    assert not re.search(r"url\(|@import|https?:", html)
    assert "prefers-color-scheme: dark" in html
    assert page.tags.count("svg") == 7


def test_a_sample_is_shown_as_the_model_saw_it(tmp_path: Path) -> None:
    text = Page(render_page(read_run(make_run(tmp_path)))).text
    places = [text.index(words) for words in (
        "You are a pilot.", 'see({"far": "<script>', '{"visibility_m": 40}', "before: Fog, sir.", "after: Fog, sir.")]  # fmt: skip
    assert places == sorted(places)


def test_values_can_be_read_off_a_chart_without_a_script() -> None:
    svg = chart("t", [Line("loss", [(1, 0.5), (2, 10.0), (3, 5.0)])], str, dots=[(3, 4.0)])
    assert re.findall("<title>([^<]*)</title>", svg) == [
        "step 1: loss 0.5", "step 2: loss 10.0", "step 3: loss 5.0, measured 4.0",
    ]  # fmt: skip
    columns = [tuple(map(float, one)) for one in re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', svg)]
    for (x, width), (following, _) in pairwise(columns):
        assert x + width == pytest.approx(following, abs=0.11)


def test_the_step_axis_has_round_ticks_and_its_name() -> None:
    assert step_ticks(1, 60) == [20, 40, 60]
    assert step_ticks(1, 3) == [1, 2, 3]
    assert step_ticks(7, 7) == [7]
    svg = chart("t", [Line("t", [(float(step), 1.0 * step) for step in range(1, 3001)])], str)
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", svg)
    assert [text for text in texts if re.fullmatch(r"\d,\d{3}", text)] == ["1,000", "2,000", "3,000"]
    assert "step" in texts
    assert svg.count('class="tick"') == 3


def test_charts_have_a_legend(tmp_path: Path) -> None:
    html = render_page(read_run(make_run(tmp_path)))
    for sign in ("faint", "mean", "dots", "resumed"):
        assert f'<i class="sign {sign}"></i>' in html


def test_runs_are_compared_in_a_table_and_in_common_charts(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one", EVIL), make_run(tmp_path / "two")
    run = json.loads((two / "run.json").read_text())
    run["config"] |= {"run_name": "another night", "learning_rate": 9e-4}
    (two / "run.json").write_text(json.dumps(run))
    page = make_report(one, two)
    assert page == tmp_path / "comparison.html"
    html = page.read_text()
    parsed = Page(html)
    assert parsed.open == []
    assert "<script" not in html
    for words in ("a night's run", "another night", "16 of 20, 0 before", "18 of 20, 1 before", "0.0009",
                  "$1.00 = $3.00 an hour x 0.33 hours", "2.5000", "1.2500"):  # fmt: skip
        assert words in parsed.text, words
    curves = html[html.index("<h2>Curves") :]
    assert curves.count('class="line c0"') == curves.count('class="line c1"') == 4
    differing = html[html.index("What differs") :]
    assert "learning_rate" in differing
    assert "lora_r" not in differing
    same = make_report(one, one, target=tmp_path / "same.html").read_text()
    assert "nothing but their names and folders" in same
    assert "a night&#x27;s run (one)" in same


def test_foreign_text_is_only_text(tmp_path: Path) -> None:
    html = render_page(read_run(make_run(tmp_path, EVIL)))
    assert "<script" not in html
    assert "\x1b" not in html
    page = Page(html)
    assert page.open == []
    assert page.text.count("<script>alert(1)</script>") >= 4
    harmless = Page(render_page(read_run(make_run(tmp_path / "other"))))
    assert page.tags == harmless.tags


def test_secrets_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-very-secret-value")
    html = render_page(read_run(make_run(tmp_path, "it said a-very-secret-value")))
    assert "a-very-secret-value" not in html
    assert "[redacted]" in html


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
_HUGE = '{"before": {"validation_loss": 1.7e308, "tools": {"num_prompts": 1, "num_valid": 1, "num_right_tool": 1}, "samples": []}}'
_KEYS = [
    "time",
    "attempt",
    "kind",
    "step",
    "loss",
    "tokens_per_s",
    "peak_memory_bytes",
    "learning_rate",
    "seconds",
    "name",
]
_KINDS = ["step", "validation", "resume", "failure", "checkpoint", "finish", "start", "?"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(st.sampled_from(_KEYS), _ANY) | st.builds(dict, kind=st.sampled_from(_KINDS), step=_ANY,
             loss=_ANY, time=_ANY | st.just(at(3)), attempt=_ANY, peak_memory_bytes=_ANY), max_size=8),
    st.dictionaries(st.sampled_from(["config", "frozen", "engine", "hardware", "argv", "run_id"]), _ANY),
    st.sampled_from(["", "{", "[]", '{"before": {}}', '{"after": {"validation_loss": "x", "tools": {}, "samples": []}}', _HUGE]),
)  # fmt: skip
@example([], {}, _HUGE)
def test_damaged_folders_give_a_whole_page(tmp_path: Path, events: list[Any], run: dict[str, Any], effect: str) -> None:
    (tmp_path / "events.jsonl").write_text("\n".join(json.dumps(event) for event in events) + "\n{")
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "effect.json").write_text(effect)
    assert Page(render_page(read_run(tmp_path))).open == []


def test_write_report_tells_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    assert write_report(run) == run / "report.html"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    monkeypatch.setattr(module, "render_page", lambda data: 1 / 0)
    assert write_report(run) is None
    assert write_report(tmp_path / "nothing") is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["⚠️ WARNING: The report could not be written"] * 2


def test_errors_name_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError, match="holds no run"):
        make_report(tmp_path)
    run = make_run(tmp_path / "run")
    with pytest.raises(WeathermanError, match="cannot be written") as caught:
        make_report(run, target=tmp_path / "no" / "such" / "folder.html")
    assert caught.value.hint == "give another file: --output FILE"


def test_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "night")
    (run / "status.json").write_text("{}")
    command = [sys.executable, "-m", "weatherman.cli", "report"]
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "check": False}
    done = subprocess.run(command, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (0, "✅ SUCCESS: The report is runs/night/report.html\n")
    done = subprocess.run([*command, str(run), "--output", "a.html", "--json"], **options)  # type: ignore[call-overload]
    page = tmp_path / "a.html"
    assert json.loads(done.stdout) == {"format_version": 1, "report": "a.html", "bytes": page.stat().st_size}
    done = subprocess.run([*command, str(run), str(run), "-o", "two.html"], **options)  # type: ignore[call-overload]
    assert done.stdout == "✅ SUCCESS: The report is two.html\n"
    assert "2 runs" in (tmp_path / "two.html").read_text()
    done = subprocess.run([*command, "nowhere"], **options)  # type: ignore[call-overload]
    assert done.returncode == 1
    assert done.stdout.startswith("❌ ERROR: nowhere holds no run")


def path_points(svg: str) -> list[tuple[float, float]]:
    (d,) = re.findall(r'class="line c0" d="M([^"]+)"', svg)
    return [tuple(map(float, pair.split())) for pair in d.split("L")]  # type: ignore[misc]


def test_a_line_goes_where_its_values_are() -> None:
    points = path_points(chart("t", [Line("t", [(1, 0.0), (2, 10.0), (3, 5.0)])], str))
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y1 - y2 == pytest.approx(2 * (y1 - y3), abs=0.2)  # pixels count downwards
    assert y2 < y3 < y1


@settings(deadline=None)
@given(st.floats(-1e15, 1e15) | st.floats(-1e299, 1e299), st.floats(0, 1e15))
@example(-714351289.4434704, 1e-06)  # a span of few floats
@example(1e9, 0.0)
@example(1e9, 0.01)  # just enough floats
@example(0.0, 5e-324)
@example(-1e-299, 1e-299)
def test_ticks_are_round_and_cover(low: float, span: float) -> None:
    high = low + span
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 9
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-3
    assert ticks[-1] >= high - step * 1e-3
    assert ticks == sorted(ticks)


def test_long_lines_are_thinned_by_means() -> None:
    thin = thin_out([(float(i), float(i % 2)) for i in range(100_000)])
    assert len(thin) <= 300
    assert thin[-1][0] == 99_999
    assert all(value == pytest.approx(0.5, abs=0.01) for _, value in thin)
    assert thin_out([(1.0, 2.0)]) == [(1.0, 2.0)]
    assert moving_mean([(1.0, 4.0), (2.0, 8.0), (3.0, 0.0)]) == [(1.0, 6.0), (2.0, 4.0), (3.0, 4.0)]


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [400, 1280])
def test_in_a_browser_nothing_overflows(tmp_path: Path, width: int) -> None:
    """The page is framed at the width, and the browser itself reports how wide its content is."""
    page = make_report(make_run(tmp_path / "run", "long" * 60))
    frame = tmp_path / "frame.html"
    html = page.read_text().replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probe = "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script>"
    frame.write_text(html.replace("</body>", probe + "</body>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    found = re.search(r"<title>(\d+)/(\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= int(found[2])
