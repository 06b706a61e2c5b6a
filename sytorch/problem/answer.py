"""How an attempt to solve a program ended: a status, with what to do, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from sytorch.problem.errors import (
    Contradiction,
    ContradictionError,
    LicenceError,
    SolverFailedError,
    SolverTimeLimitError,
    SytorchError,
)
from sytorch.problem.solution import Solution


class Status(StrEnum):
    """How it ended."""

    SOLVED = "solved"
    REFUTED = "refuted"
    TIME_LIMIT = "time_limit"
    GAVE_UP = "gave_up"
    NO_LICENCE = "no_licence"

    @property
    def remedy(self) -> str:
        """What to do, as a sentence."""
        return _REMEDIES[self]


_REMEDIES = {
    Status.SOLVED: "Apply the change, and let the network's forward pass judge it.",
    Status.REFUTED: "Raise the bound, lower the margin, or leave out an image that the contradiction names.",
    Status.TIME_LIMIT: "Allow more time or repair fewer images; where there is a solution, it is the best so far.",
    Status.GAVE_UP: "Try another solver or norm, a larger bound or a smaller margin.",
    Status.NO_LICENCE: "Install a licence that admits programs of this size, or solve with HiGHS.",
}
_STATUSES: dict[type[SytorchError], Status] = {
    ContradictionError: Status.REFUTED,
    SolverTimeLimitError: Status.TIME_LIMIT,
    SolverFailedError: Status.GAVE_UP,
    LicenceError: Status.NO_LICENCE,
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What a program's methods found.

    Attributes:
        solution: the smallest change, or at a time limit the best so far, with its proved lower bound; else None.
        error: what `unwrap` raises; None where the program is solved.
    """

    solution: Solution | None
    error: SytorchError | None = field(default=None, repr=False)

    @classmethod
    def of(cls, solve: Callable[[], Solution]) -> Answer:
        """The answer of a method that raises where it has no solution; invalid input still raises."""
        try:
            return cls(solve())
        except SolverTimeLimitError as error:
            return cls(error.best, error)
        except (ContradictionError, SolverFailedError, LicenceError) as error:
            return cls(None, error)

    @property
    def status(self) -> Status:
        """How it ended."""
        return next((status for kind, status in _STATUSES.items() if isinstance(self.error, kind)), Status.SOLVED)

    @property
    def contradiction(self) -> Contradiction | None:
        """The proof that there is no change; None where the program is not refuted."""
        return self.error.contradiction if isinstance(self.error, ContradictionError) else None

    @property
    def reason(self) -> str:
        """Why there is no optimum, as a sentence; empty where the program is solved."""
        return "" if self.error is None else str(self.error)

    def unwrap(self) -> Solution:
        """The solution of a solved program.

        Raises:
            ContradictionError, SolverTimeLimitError, SolverFailedError, LicenceError: it is not solved.
        """
        if self.error is not None:
            raise self.error
        assert self.solution is not None
        return self.solution
