"""Draw a result file: speeds side by side, and the cost as steps and prefixes grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.contenders import CONTENDERS

OURS, OURS_OFF, PEER = "#1b6ca8", "#8fbbd9", "#b8b2a7"
GROWTH = (
    ("batch", "Examples in a step of the shipped data", "As the step grows"),
    ("prefix", "Tokens shared by made-up examples", "As the prefix grows"),
)
MIN_POINTS = 3  # fewer are no curve
INK, FAINT = "#222222", "#d9d9d9"
COLOURS = {"ours-on": OURS, "ours-off": OURS_OFF}
_STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.hashsalt": "weatherman",
    "svg.fonttype": "path",
}


def draw(result_path: Path) -> Path:
    """Draw a result file next to it.

    Args:
        result_path: the JSON file.

    Returns:
        The SVG's path.
    """
    result = json.loads(result_path.read_text(encoding="utf-8"))
    second = {"wall": "s", "cpu": "CPU s"}[result["settings"]["clock"]]
    series = [
        (result["growth"][kind], label, title)
        for kind, label, title in GROWTH
        if len({row["at"] for row in result["growth"][kind]}) >= MIN_POINTS
    ]
    with mpl.rc_context(_STYLE):
        widths = [1.5, *[1.0] * len(series)]
        figure, panels = pyplot.subplots(
            1,
            len(widths),
            figsize=(max(7, 3.2 * sum(widths)), 3.4),
            width_ratios=widths,
            layout="constrained",
            squeeze=False,
        )
        _speeds(panels[0][0], result["contenders"], second)
        for axes, (rows, label, title) in zip(panels[0][1:], series, strict=True):
            _growth(axes, second, rows, label, title)
        path = result_path.with_suffix(".svg")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
    return path


def _speeds(axes: Axes, contenders: list[dict[str, Any]], second: str) -> None:
    axes.set_title("16-example steps of the shipped data")
    shown = [one for one in contenders if one["effective_tokens_per_s"]["count"]]
    longest = max((one["effective_tokens_per_s"]["spread"][1] for one in shown), default=1)
    for place, one in enumerate(reversed(shown)):
        speed = one["effective_tokens_per_s"]
        low, high = speed["spread"]
        axes.barh(place, speed["median"], height=0.62, color=COLOURS.get(one["name"], PEER))
        axes.plot([low, high], [place, place], color=INK, linewidth=1.2, solid_capstyle="butt")
        memory = f"{one['peak_bytes']['median'] / 2**30:.1f} GiB"
        axes.text(high + 0.02 * longest, place, f"{speed['median']:.0f}  ({memory})", va="center")
    axes.set_yticks(range(len(shown)), [one["label"] for one in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, longest * 1.35)
    axes.set_xlabel(f"Effective tokens/{second}: median, smallest to largest (peak memory)")


def _growth(axes: Axes, second: str, rows: list[dict[str, Any]], label: str, title: str) -> None:
    axes.set_title(title)
    places = sorted({row["at"] for row in rows})
    for name in ("ours-on", "ours-off"):
        mine = [row for row in rows if row["contender"] == name]
        if not mine:
            continue
        at = [places.index(row["at"]) for row in mine]
        speeds = [row["effective_tokens_per_s"]["median"] for row in mine]
        axes.plot(at, speeds, color=COLOURS[name], marker="o", markersize=4, linewidth=1.8)
        words = CONTENDERS[name].label.removeprefix("ours, ")
        axes.annotate(words, (at[-1], speeds[-1]), (-2, 6), textcoords="offset points", ha="right", color=INK)
    axes.set_xticks(range(len(places)), [str(place) for place in places])
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(0, 1.2 * max((row["effective_tokens_per_s"]["median"] for row in rows), default=1))
    axes.set_xlabel(label)
    axes.set_ylabel(f"Effective tokens/{second}")
