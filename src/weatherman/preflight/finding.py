"""What a check found: a stable code, a verdict, a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from weatherman.errors import EXIT_FAILED

Verdict = Literal["ok", "warn", "fail", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warn", "fail", "unknown")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        code: stable, machine-readable name of what was checked, e.g. ``gpu.memory``.
        verdict: "ok"; "warn": training can begin; "fail": it cannot; "unknown": it cannot be known on this machine,
            which is never counted as ok.
        message: what was found, with the values, in one sentence without its full stop.
        fix: what to do about it; empty when there is nothing to do.
    """

    code: str
    verdict: Verdict
    message: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)


def ok(code: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(code, "ok", message)


def warn(code: str, message: str, fix: str) -> Finding:
    """Training can begin, but the user should know."""
    return Finding(code, "warn", message, fix)


def fail(code: str, message: str, fix: str) -> Finding:
    """Training cannot begin."""
    return Finding(code, "fail", message, fix)


def unknown(code: str, message: str, fix: str = "") -> Finding:
    """It cannot be known here."""
    return Finding(code, "unknown", message, fix)


def as_rehearsal(finding: Finding) -> Finding:
    """In a rehearsal, what is not ok about the platform says nothing about the machine that will be rented."""
    if finding.verdict == "ok":
        return finding
    return replace(finding, verdict="unknown", fix="")


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each verdict."""
    verdicts = [finding.verdict for finding in findings]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def exit_code(findings: Iterable[Finding]) -> int:
    """1 if anything failed, else 0."""
    return EXIT_FAILED if any(finding.verdict == "fail" for finding in findings) else 0
