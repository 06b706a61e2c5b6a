"""Symbolic torch: a module with one symbolic layer, affine outputs, the program of its smallest change, and its proof.

>>> outputs = sytorch.symbolic(model, layer="classifier.6")(images)
>>> program = sytorch.minimise("l1", metric).subject_to(sytorch.margin(outputs, labels, 2.0), bound=5.0)
>>> solution = program.solve("auto")
"""

from sytorch.certificate.bounds import lower_bound, refuted_bound
from sytorch.files.nnet import NnetFile, read_nnet, write_nnet
from sytorch.files.onnx_chain import read_onnx, write_onnx
from sytorch.hidden_layer.linearised_steps import relinearise
from sytorch.hidden_layer.polytopes import Polytopes, Verdict, check_polytopes, linearise_polytopes, polytopes
from sytorch.hidden_layer.program import FixedPatternProgram, fixed_pattern_program
from sytorch.hidden_layer.shifting import Shifted, shift
from sytorch.last_layer.program import Objective, Program, minimise
from sytorch.metrics.kronecker import KroneckerMetric, identity_metric, kronecker_metric
from sytorch.metrics.last_layer import (
    IdentityMetric,
    Metric,
    PerClassMetric,
    SecondMomentMetric,
    SharedMetric,
    second_moment_metric,
)
from sytorch.network.applying import apply
from sytorch.network.chain import Chain, chain_of
from sytorch.network.layer_view import LayerView, Part, linearise, part_named
from sytorch.network.symbolic import symbolic, symbolic_layers
from sytorch.one_call.repairing import Repaired, Tried, repair
from sytorch.problem.answer import Answer, Status
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import (
    Contradiction,
    ContradictionError,
    FileError,
    InfeasibleProgramError,
    InvalidInputError,
    LicenceError,
    MissingPackageError,
    SolverFailedError,
    SolverTimeLimitError,
    SplitPolytopeError,
    SytorchError,
    UnsupportedLayerError,
)
from sytorch.problem.margins import Inequalities, Margins, Requirements, at_least, margin
from sytorch.problem.norms import NormName, norm
from sytorch.problem.outputs import AffineOutputs, append_one
from sytorch.problem.properties import (
    Property,
    between,
    close_to,
    greatest,
    halfspaces,
    least,
    not_greatest,
    not_least,
)
from sytorch.problem.solution import Effort, Multipliers, Solution
from sytorch.solvers import AutoSolver, GurobiSolver, HighsSolver, SolverName, solver_named
from sytorch.solvers.linear_program import Solver

__all__ = [
    "AffineOutputs",
    "Answer",
    "AutoSolver",
    "Chain",
    "Contradiction",
    "ContradictionError",
    "Deadline",
    "Effort",
    "FileError",
    "FixedPatternProgram",
    "GurobiSolver",
    "HighsSolver",
    "IdentityMetric",
    "Inequalities",
    "InfeasibleProgramError",
    "InvalidInputError",
    "KroneckerMetric",
    "LayerView",
    "LicenceError",
    "Margins",
    "Metric",
    "MissingPackageError",
    "Multipliers",
    "NnetFile",
    "NormName",
    "Objective",
    "Part",
    "PerClassMetric",
    "Polytopes",
    "Program",
    "Property",
    "Repaired",
    "Requirements",
    "SecondMomentMetric",
    "SharedMetric",
    "Shifted",
    "Solution",
    "Solver",
    "SolverFailedError",
    "SolverName",
    "SolverTimeLimitError",
    "SplitPolytopeError",
    "Status",
    "SytorchError",
    "Tried",
    "UnsupportedLayerError",
    "Verdict",
    "append_one",
    "apply",
    "as_deadline",
    "at_least",
    "between",
    "chain_of",
    "check_polytopes",
    "close_to",
    "fixed_pattern_program",
    "greatest",
    "halfspaces",
    "identity_metric",
    "kronecker_metric",
    "least",
    "linearise",
    "linearise_polytopes",
    "lower_bound",
    "margin",
    "minimise",
    "norm",
    "not_greatest",
    "not_least",
    "part_named",
    "polytopes",
    "read_nnet",
    "read_onnx",
    "refuted_bound",
    "relinearise",
    "repair",
    "second_moment_metric",
    "shift",
    "solver_named",
    "symbolic",
    "symbolic_layers",
    "write_nnet",
    "write_onnx",
]
