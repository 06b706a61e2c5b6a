"""Symbolic torch: a module with one symbolic layer, affine outputs, the program of its smallest change, and its proof.

>>> outputs = sytorch.symbolic(model, layer="classifier.6")(images)
>>> program = sytorch.minimise("l1", metric).subject_to(sytorch.margin(outputs, labels, 2.0), bound=5.0)
>>> solution = program.solve("auto")
"""

from sytorch.certificate import Multipliers, lower_bound, refuted_bound
from sytorch.constraints import Margins, margin
from sytorch.errors import (
    Contradiction,
    ContradictionError,
    InfeasibleProgramError,
    LicenceError,
    SolverFailedError,
    SolverTimeLimitError,
    SytorchError,
    UnsupportedLayerError,
)
from sytorch.linear_program import Solver
from sytorch.metric import IdentityMetric, Metric, SecondMomentMetric, second_moment_metric
from sytorch.norms import NormName, norm
from sytorch.program import Objective, Program, minimise
from sytorch.solution import Effort, Solution
from sytorch.solvers import AutoSolver, FirstOrderSolver, GurobiSolver, HighsSolver, SolverName, solver_named
from sytorch.symbolic import AffineOutputs, append_one, symbolic, symbolic_layers

__all__ = [
    "AffineOutputs",
    "AutoSolver",
    "Contradiction",
    "ContradictionError",
    "Effort",
    "FirstOrderSolver",
    "GurobiSolver",
    "HighsSolver",
    "IdentityMetric",
    "InfeasibleProgramError",
    "LicenceError",
    "Margins",
    "Metric",
    "Multipliers",
    "NormName",
    "Objective",
    "Program",
    "SecondMomentMetric",
    "Solution",
    "Solver",
    "SolverFailedError",
    "SolverName",
    "SolverTimeLimitError",
    "SytorchError",
    "UnsupportedLayerError",
    "append_one",
    "lower_bound",
    "margin",
    "minimise",
    "norm",
    "refuted_bound",
    "second_moment_metric",
    "solver_named",
    "symbolic",
    "symbolic_layers",
]
