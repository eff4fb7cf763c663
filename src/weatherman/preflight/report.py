"""How findings are shown: a line each for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable

from weatherman import messages
from weatherman.preflight.finding import Finding, count, exit_code


def show(finding: Finding) -> None:
    """Print one finding as a line of the grammar."""
    text = finding.message + (f". Hint: {finding.fix}" if finding.fix else "")
    if finding.verdict == "ok":
        messages.success(text)
    elif finding.verdict == "fail":
        messages.error(text)
    else:
        messages.warning(f"Cannot know here: {text}" if finding.verdict == "unknown" else text)


def report(findings: Iterable[Finding], *, as_json: bool = False, tag: str = "PREFLIGHT") -> int:
    """Show all findings and their count.

    Args:
        findings: what the checks find; each is shown as soon as it is known.
        as_json: one JSON object on standard output and nothing else: `verdict` ("ok" or "fail"), `counts` and
            `findings`, each with code, verdict, message and fix.
        tag: of the line that counts them.

    Returns:
        The exit code: 1 if anything failed.
    """
    known: list[Finding] = []
    for finding in findings:
        known.append(finding)
        if not as_json:
            show(finding)
    counts, code = count(known), exit_code(known)
    if as_json:
        record = {
            "verdict": "fail" if code else "ok",
            "counts": counts,
            "findings": [finding.to_json() for finding in known],
        }
        print(messages.redact(json.dumps(record)))
        return code
    text = f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failed"
    messages.say(tag, f"{text}, {counts['unknown']} cannot be known here")
    return code
