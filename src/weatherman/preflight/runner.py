"""Which checks there are, in groups, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from weatherman.preflight.finding import Finding, as_rehearsal, fail
from weatherman.preflight.target import Target

Check = Callable[[Target], Iterator[Finding]]
GROUPS: tuple[str, ...] = ("environment", "gpu", "storage", "config", "accounts")
# What these find out is about the machine, which in a rehearsal is not the one that will train.
PLATFORM_GROUPS = frozenset(["gpu"])


def checks(group: str) -> Check:
    """The checks of one group; a group's module is imported when it is asked for."""
    raise KeyError(group)


def run_checks(target: Target, groups: Sequence[str] = GROUPS) -> Iterator[Finding]:
    """Run groups of checks one after another.

    Args:
        target: what to judge.
        groups: which groups, of `GROUPS`.

    Yields:
        Each finding as soon as it is known. A check that breaks is a finding that fails, never an exception.
    """
    for group in groups:
        try:
            for finding in checks(group)(target):
                yield as_rehearsal(finding) if target.rehearse and group in PLATFORM_GROUPS else finding
        except Exception as problem:  # the other groups must still be heard
            yield fail(
                f"{group}.broken",
                f"the {group} checks broke ({type(problem).__name__}: {problem})",
                "this is a mistake of the check itself; weatherman doctor --debug shows where",
            )
