"""Symbolic torch: a module with one symbolic layer, affine outputs, the program of its smallest change, and its proof.

>>> outputs = sytorch.symbolic(model, layer="classifier.6")(images)
>>> program = sytorch.minimise("l1", metric).subject_to(sytorch.margin(outputs, labels, 2.0), bound=5.0)
>>> solution = program.solve("auto")
"""

from sytorch.certificate import Multipliers, lower_bound, refuted_bound
from sytorch.chain import Chain, chain_of
from sytorch.constraints import Margins, margin
from sytorch.deadline import Deadline, as_deadline
from sytorch.errors import (
    Contradiction,
    ContradictionError,
    InfeasibleProgramError,
    InvalidInputError,
    LicenceError,
    SolverFailedError,
    SolverTimeLimitError,
    SplitPolytopeError,
    SytorchError,
    UnsupportedLayerError,
)
from sytorch.held import HeldProgram, hold
from sytorch.kronecker_metric import KroneckerMetric, identity_metric, kronecker_metric
from sytorch.linear_program import Solver
from sytorch.linearise import LayerView, linearise
from sytorch.metric import (
    IdentityMetric,
    Metric,
    PerClassMetric,
    SecondMomentMetric,
    SharedMetric,
    second_moment_metric,
)
from sytorch.norms import NormName, norm
from sytorch.parts import Part, part_named
from sytorch.polytope import Polytopes, Verdict, check_polytopes, linearise_polytopes, polytopes
from sytorch.program import Objective, Program, minimise
from sytorch.relinearise import Relinearised, relinearise
from sytorch.solution import Effort, Solution
from sytorch.solvers import AutoSolver, FirstOrderSolver, GurobiSolver, HighsSolver, SolverName, solver_named
from sytorch.symbolic import AffineOutputs, append_one, symbolic, symbolic_layers

__all__ = [
    "AffineOutputs",
    "AutoSolver",
    "Chain",
    "Contradiction",
    "ContradictionError",
    "Deadline",
    "Effort",
    "FirstOrderSolver",
    "GurobiSolver",
    "HeldProgram",
    "HighsSolver",
    "IdentityMetric",
    "InfeasibleProgramError",
    "InvalidInputError",
    "KroneckerMetric",
    "LayerView",
    "LicenceError",
    "Margins",
    "Metric",
    "Multipliers",
    "NormName",
    "Objective",
    "Part",
    "PerClassMetric",
    "Polytopes",
    "Program",
    "Relinearised",
    "SecondMomentMetric",
    "SharedMetric",
    "Solution",
    "Solver",
    "SolverFailedError",
    "SolverName",
    "SolverTimeLimitError",
    "SplitPolytopeError",
    "SytorchError",
    "UnsupportedLayerError",
    "Verdict",
    "append_one",
    "as_deadline",
    "chain_of",
    "check_polytopes",
    "hold",
    "identity_metric",
    "kronecker_metric",
    "linearise",
    "linearise_polytopes",
    "lower_bound",
    "margin",
    "minimise",
    "norm",
    "part_named",
    "polytopes",
    "refuted_bound",
    "relinearise",
    "second_moment_metric",
    "solver_named",
    "symbolic",
    "symbolic_layers",
]
