"""The one error a user sees: what went wrong, with which value, and what to do about it."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_CRASH_LOOP = 2


class WeathermanError(Exception):
    """A problem that the user can act on, printed as one line without a traceback.

    Args:
        code: stable, machine-readable name of the problem, e.g. ``data.bad-json``.
        message: what is wrong, where, and with which value.
        hint: what to do about it; empty when the message already says so.
        exit_code: the process's exit code; 2 is reserved for the crash loop.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class Problems(WeathermanError):  # noqa: N818 - a collection, not one error
    """Several problems found in one pass; each is printed on its own line."""

    def __init__(self, code: str, problems: list[WeathermanError], summary: str) -> None:
        super().__init__(code, summary)
        self.problems = problems
