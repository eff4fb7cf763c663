"""The checks before a run: each is a function that yields findings. Standard library only, until a check needs more."""

from weatherman.preflight.finding import Finding, Verdict, count, exit_code
from weatherman.preflight.report import report, show
from weatherman.preflight.runner import GROUPS, run_checks
from weatherman.preflight.target import PLATFORMS, Platform, Target, detect_platform

__all__ = [
    "GROUPS",
    "PLATFORMS",
    "Finding",
    "Platform",
    "Target",
    "Verdict",
    "count",
    "detect_platform",
    "exit_code",
    "report",
    "run_checks",
    "show",
]
