"""What scripts/*.py are made of: their options, their lines, and their exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weatherman import messages
from weatherman.errors import EXIT_FAILED
from weatherman.preflight.places import platform_of
from weatherman.preflight.probe import SystemProbe
from weatherman.preflight.report import report
from weatherman.preflight.runner import run_checks
from weatherman.preflight.target import PLATFORMS, Platform, Target


def print_header(title: str) -> None:
    """Print the heading of a section."""
    messages.say("PREFLIGHT", title)


def print_check(passed: bool, message: str) -> bool:
    """Print a check's result as a line, and give it back."""
    if passed:
        messages.success(message)
    else:
        messages.error(message)
    return passed


def validate(platform: Platform) -> bool:
    """Check a platform's environment and machine, print what is found, and say whether nothing failed."""
    print_header(f"Checking this machine for {platform}")
    return report(run_checks(Target(platform), ("environment", "machine"))) == 0


class Options(argparse.ArgumentParser):
    """The options of a script; a wrong one is one line and exit code 1 (2 means a crash loop and nothing else)."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--env", choices=PLATFORMS, help="whose thresholds count; else the configuration's")
        self.add_argument("--config", type=Path, help="the training configuration; the platform's own by default")
        self.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
        self.add_argument("--rehearse", action="store_true", help="what the platform lacks cannot be known here")
        self.add_argument("--before-setup", action="store_true", help="judge the machine, not this Python's packages")
        self.add_argument("--json", action="store_true", help="JSON on standard output, nothing else")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the options."""
        messages.error(f"{message}. Hint: {self.prog} --help")
        sys.exit(EXIT_FAILED)


def run_script(description: str, groups: Sequence[str], title: str, env: Platform | None = None) -> int:
    """Run a script.

    Args:
        description: what `--help` says.
        groups: the checks it runs.
        title: the heading of its output.
        env: the platform where the options name none; None for the configuration's or this machine's.

    Returns:
        The exit code.
    """
    options = Options(description).parse_args()
    probe = SystemProbe()
    platform = options.env or env or platform_of(options.config, probe)
    target = Target(platform, options.config, tuple(options.set), options.rehearse, options.before_setup, probe)
    if not options.json:
        print_header(f"{title} ({platform})")
    return report(run_checks(target, groups), as_json=options.json)
