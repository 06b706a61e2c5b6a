"""The process of `benchmarks.opponents.pdlp`: a program in a file, a limit of seconds and threads; a point in a file.

It imports neither torch nor highspy.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
from scipy import sparse

from helpers.stopwatch import peak_memory_mb


def main(asked: str, answer: str, time_limit: float, threads: int) -> None:
    """Read a program, solve it, write the point."""
    pdlp: Any = importlib.import_module("ortools.pdlp.python.pdlp")
    protocol: Any = importlib.import_module("ortools.pdlp.solvers_pb2")
    log: Any = importlib.import_module("ortools.pdlp.solve_log_pb2")
    parameters = protocol.PrimalDualHybridGradientParams(num_threads=threads)
    parameters.termination_criteria.time_sec_limit = time_limit
    found = pdlp.primal_dual_hybrid_gradient(_read(pdlp, asked), parameters)
    reason = log.TerminationReason.Name(found.solve_log.termination_reason)
    status = reason.removeprefix("TERMINATION_REASON_").lower().replace("_", " ")
    np.savez(answer, x=found.primal_solution, status=status, peak_mb=peak_memory_mb())


def _read(pdlp: Any, asked: str) -> Any:
    with np.load(asked) as stored:
        arrays = dict(stored)
    shape = len(arrays["row_lower"]), len(arrays["cost"])
    matrix = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    program = pdlp.QuadraticProgram()
    program.resize_and_initialize(shape[1], shape[0])
    program.objective_vector = arrays["cost"]
    program.variable_lower_bounds = np.zeros(shape[1])
    program.variable_upper_bounds = arrays["upper"]
    program.constraint_lower_bounds = arrays["row_lower"]
    program.constraint_upper_bounds = arrays["row_upper"]
    program.constraint_matrix = matrix.tocsc()
    return program


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
