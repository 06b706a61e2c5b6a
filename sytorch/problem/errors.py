"""Why a program could not be built or solved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from sytorch.problem.arrays import Matrix
    from sytorch.problem.solution import Multipliers, Solution

TOLD = 5  # images of a contradiction
UNKNOWN = "the solver's precision ended; try another --solver or --norm, a larger --param-bound or a smaller --margin."


class SytorchError(Exception):
    """Base of every failure of this package."""


class InvalidInputError(SytorchError, ValueError):
    """An image, a label, a margin, a bound or a metric is not what it has to be; the message says which and how."""


class UnsupportedLayerError(SytorchError):
    """The named layer cannot be made symbolic; the message lists those that can."""


class SplitPolytopeError(SytorchError):
    """A layer before the repaired one has no common activation pattern on a polytope, and no change can give it one.

    Attributes:
        layer: its name.
        polytope: the position of the first polytope on which it has none.
        units: how many of its units, or windows, differ between that polytope's vertices.
    """

    def __init__(self, layer: str, polytope: int, units: int):
        super().__init__(
            f"{layer!r} comes before the repaired layer and {units} of its units differ between the vertices of "
            f"polytope {polytope}; repair an earlier layer, or split the polytope."
        )
        self.layer, self.polytope, self.units = layer, polytope, units


class FileError(SytorchError):
    """A file is damaged, or holds no chain of layers that this package knows; the message names the step.

    Of a file to be written: the module is not one that it can hold.
    """


class MissingPackageError(SytorchError, ImportError):
    """A package is missing that only one function needs; the message says how to install it."""


class LicenceError(SytorchError):
    """The solver has no licence, or its licence does not admit a program of this size."""


class SolverTimeLimitError(SytorchError):
    """The time limit was reached before the optimum was proved.

    Attributes:
        best: the best solution so far, with its proved lower bound; None where none is known.
        model: of `sytorch.repair`, the copy in which most points have what is required so far; None without one.
    """

    best: Solution | None = None
    model: nn.Module | None = None


class SolverFailedError(SytorchError):
    """The solver stopped without an answer; the message holds its status."""


def gave_up(why: str) -> SolverFailedError:
    """The error of a solver that found neither a change nor a proof that there is none."""
    return SolverFailedError(
        f"It is not known whether there is a change: {why}. A larger bound, a smaller margin or fewer images may help."
    )


class InfeasibleProgramError(SytorchError):
    """No change satisfies the constraints."""


@dataclass(frozen=True, eq=False)
class Contradiction:
    """A proof that no change within the bound exists, or that none has the form the program asks for.

    Attributes:
        images: positions of the images that contradict each other, ascending.
        refuted_bound: the multipliers refute every bound below it; infinite where no bound helps.
        sufficient_bound: a bound within which a change was found; None where none is known.
        multipliers: Farkas' proof, see `sytorch.Program.refutes` for what they satisfy.
        pattern: by module name, the multipliers of a fixed activation pattern; empty for the last layer.
        proved_for_all_changes: False where only changes of the metric's own form are ruled out.
    """

    images: tuple[int, ...]
    refuted_bound: float
    sufficient_bound: float | None = None
    multipliers: Multipliers = field(kw_only=True, repr=False)
    pattern: Mapping[str, Matrix] = field(default_factory=dict, kw_only=True, repr=False)
    proved_for_all_changes: bool = field(kw_only=True)


class ContradictionError(InfeasibleProgramError):
    """The constraints contradict each other; carries the proof."""

    def __init__(self, contradiction: Contradiction):
        super().__init__(f"the constraints contradict each other{_said(contradiction)}")
        self.contradiction = contradiction


def _said(found: Contradiction) -> str:
    """Which images these are, and what is known of bounds."""
    some = ", ".join(map(str, found.images[:TOLD])) + (", ..." if len(found.images) > TOLD else "")
    refuted = "no bound helps" if math.isinf(found.refuted_bound) else f"no bound below {found.refuted_bound:.6g} helps"
    enough = "" if found.sufficient_bound is None else f", and {found.sufficient_bound:.6g} is enough"
    return f": image{'' if len(found.images) == 1 else 's'} {some}; {refuted}{enough}"
