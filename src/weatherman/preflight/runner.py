"""Which checks there are, in groups, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from weatherman.preflight.accounts import check_accounts
from weatherman.preflight.compute_test import check_compute
from weatherman.preflight.config_check import check_config
from weatherman.preflight.environment import check_environment
from weatherman.preflight.finding import Finding, as_rehearsal, fail
from weatherman.preflight.gpu import check_gpu
from weatherman.preflight.mac import check_mac
from weatherman.preflight.storage import check_storage
from weatherman.preflight.target import Target

Check = Callable[[Target], Iterator[Finding]]
# The machine of a rehearsal is not the one that will train. (Storage and accounts see to that themselves.)
PLATFORM_GROUPS = frozenset(["machine"])


def check_machine(target: Target) -> Iterator[Finding]:
    """The device that computes: the GPU, the Mac, or the processor."""
    if target.platform == "h100":
        yield from check_gpu(target)
    elif target.platform == "m4":
        yield from check_mac(target)
    else:
        yield check_compute(target, "cpu")


CHECKS: dict[str, Check] = {
    "environment": check_environment,
    "machine": check_machine,
    "storage": check_storage,
    "config": check_config,
    "accounts": check_accounts,
}
GROUPS: tuple[str, ...] = tuple(CHECKS)


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
            for finding in CHECKS[group](target):
                yield as_rehearsal(finding) if target.rehearse and group in PLATFORM_GROUPS else finding
        except Exception as problem:  # the other groups must still be heard
            yield fail(
                f"{group}.broken",
                f"the {group} checks broke ({type(problem).__name__}: {problem})",
                "this is a mistake of the check itself; weatherman doctor --debug shows where",
            )
