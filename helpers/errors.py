"""Failures that a user can mend. Each carries one sentence and the exit code of the script."""

from __future__ import annotations


class ToolError(Exception):
    """Something outside the program is wrong: the message says what, and what to do about it."""

    exit_code = 1


class UsageError(ToolError):
    """An option has a value that can never work."""

    exit_code = 2


class InfeasibleError(ToolError):
    """No change of the layer within the bound classifies every edit image with the margin."""

    exit_code = 3


class TimeLimitError(ToolError):
    """The time limit was reached before the repair was complete."""

    exit_code = 4


class NotVerifiedError(ToolError):
    """The program was solved, but the repaired weights fail the forward pass."""

    exit_code = 5


class NotProvedError(ToolError):
    """Neither a repair was proved, nor that there is none."""

    exit_code = 8


class TooCostlyError(ToolError):
    """The repair costs more accuracy than was allowed."""

    exit_code = 8


class ExperimentsFailedError(ToolError):
    """A sweep is complete, but some of its experiments ended without a verified repair."""

    exit_code = 6
