"""The two solvers behind one protocol: statuses are read, licences run out, clocks run down, Ctrl-C is heard."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gurobipy as gp
import numpy as np
import pytest
from gurobipy import GRB
from scipy import sparse

import sytorch
from sytorch.solvers.interruption import take_back
from sytorch.solvers.linear_program import LinearProgram, LinearSolution, Solver

CHECKOUT = Path(__file__).parents[3]
SOLVERS = [sytorch.GurobiSolver(), sytorch.HighsSolver()]


def program(cost: list[float], rows: list[list[float]], rhs: list[float], upper: float = np.inf) -> LinearProgram:
    size = len(cost)
    matrix = sparse.csr_array(np.array(rows, dtype=float).reshape(len(rhs), size))
    return LinearProgram(np.array(cost), np.zeros(size), np.full(size, upper), matrix, np.array(rhs))


def large(size: int) -> LinearProgram:
    """More columns than the licence inside gurobipy admits; the answer is 1 for each."""
    return LinearProgram(
        np.ones(size), np.zeros(size), np.full(size, np.inf), sparse.csr_array(sparse.eye_array(size)), np.ones(size)
    )


def slow(size: int = 700, seed: int = 0) -> LinearProgram:
    """A dense random program that takes any solver many seconds."""
    rng = np.random.default_rng(seed)
    matrix = sparse.csr_array(rng.uniform(size=(size, size)))
    return LinearProgram(
        rng.uniform(1, 2, size), np.zeros(size), np.full(size, np.inf), matrix, rng.uniform(1, 2, size)
    )


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_a_program_with_a_known_vertex_and_its_duals(solver: Solver) -> None:
    # min 2x + 3y, x + y >= 4, x + 3y >= 6: (3, 1); duals from u + v = 2, u + 3v = 3.
    solution = solver.solve(program([2, 3], [[1, 1], [1, 3]], [4, 6]))
    np.testing.assert_allclose(solution.x, [3, 1])
    np.testing.assert_allclose(solution.duals, [1.5, 0.5])
    assert solver.name in solution.solver
    assert solution.iterations >= 0


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_a_quadratic_program_with_a_known_point(solver: Solver) -> None:
    # min (x^2 + y^2) / 2, x + y >= 2: (1, 1) with the dual 1.
    linear = program([0, 0], [[1, 1]], [2])
    quadratic = sparse.csc_array(sparse.eye_array(2))
    solution = solver.solve(
        LinearProgram(linear.cost, linear.lower, linear.upper, linear.matrix, linear.rhs, quadratic)
    )
    np.testing.assert_allclose(solution.x, [1, 1], atol=1e-6)
    np.testing.assert_allclose(solution.duals, [1], atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_what_is_no_optimum_is_no_answer(solver: Solver) -> None:
    with pytest.raises(sytorch.InfeasibleProgramError, match="infeasible"):
        solver.solve(program([1], [[1], [-1]], [2, -1]))
    with pytest.raises(sytorch.SytorchError):
        solver.solve(program([-1], [[1]], [0]))  # unbounded


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_the_time_limit_is_kept(solver: Solver) -> None:
    started = time.monotonic()
    with pytest.raises(sytorch.SolverTimeLimitError):
        solver.solve(slow(), 0.05)
    assert time.monotonic() - started < 5


def test_one_time_limit_serves_all_programs() -> None:
    margins = sytorch.margin(sytorch.AffineOutputs(np.zeros((1, 2)), np.ones((1, 3))), np.array([0]), 1.0)
    with pytest.raises(sytorch.SolverTimeLimitError):
        sytorch.minimise("l1", sytorch.IdentityMetric()).subject_to(margins).solve("highs", time_limit=1e-9)


def test_the_licence_inside_gurobipy_refuses_large_programs_with_a_sentence() -> None:
    if _has_full_licence():
        pytest.skip("this machine has a Gurobi licence without a size limit")
    with pytest.raises(sytorch.LicenceError, match="licence does not admit"):
        sytorch.GurobiSolver().solve(large(2500))


def test_auto_tells_once_and_goes_on_with_highs() -> None:
    if _has_full_licence():
        pytest.skip("this machine has a Gurobi licence without a size limit")
    told: list[str] = []
    solver = sytorch.AutoSolver(told.append)
    assert "gurobi" in solver.solve(large(5)).solver
    for _ in range(2):
        solution = solver.solve(large(2500))
        assert "highs" in solution.solver
        np.testing.assert_allclose(solution.x, 1)
    assert len(told) == 1
    assert "HiGHS solves it instead" in told[0]


def test_auto_needs_no_licence_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_licence(*_: object, **__: object) -> None:
        raise gp.GurobiError(GRB.Error.NO_LICENSE, "No Gurobi license found")

    monkeypatch.setattr(gp, "Env", no_licence)
    told: list[str] = []
    assert "highs" in sytorch.AutoSolver(told.append).solve(large(5)).solver
    assert "No Gurobi license found" in told[0]
    with pytest.raises(sytorch.LicenceError):
        sytorch.GurobiSolver().solve(large(5))


LICENCE_FILES = {
    "wls": "WLSACCESSID=0-1-2-3-4\nWLSSECRET=5-6-7-8-9\nLICENSEID=123456\n",
    "token server": "TOKENSERVER=no.such.host.invalid\n",
    "compute server": "COMPUTESERVER=http://127.0.0.1:9\n",
    "cluster manager": "CSMANAGER=http://127.0.0.1:9\nCSAPIACCESSID=a\nCSAPISECRET=b\n",
    "cloud": "CLOUDACCESSID=1\nCLOUDSECRETKEY=2\nLICENSEID=1\n",
    "damaged": "no licence\n",
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if place else ()) for place, kind in enumerate(LICENCE_FILES)]
)
def test_a_stale_licence_file_leaves_auto_with_highs(kind: str, tmp_path: Path) -> None:
    """In a process of its own, for Gurobi reads the file's name once."""
    licence = tmp_path / "gurobi.lic"
    licence.write_text(LICENCE_FILES[kind])
    code = """
        import sytorch
        from tests.sytorch.solvers.test_solvers import large
        told = []
        solver = sytorch.AutoSolver(told.append)
        for _ in range(2):
            print(solver.solve(large(5)).solver.split()[0], len(told))
        try:
            sytorch.GurobiSolver().solve(large(5))
        except sytorch.LicenceError:
            print("refused")
    """
    environment = os.environ | {"GRB_LICENSE_FILE": str(licence)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    run = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-3:] == ["highs 1", "highs 1", "refused"]


def test_a_licence_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(gp, "Env", lambda **_: never.wait())
    monkeypatch.setattr("sytorch.solvers.gurobi.START_LIMIT", 0.05)
    told: list[str] = []
    assert "highs" in sytorch.AutoSolver(told.append).solve(large(5)).solver
    assert "no licence within" in told[0]
    with pytest.raises(sytorch.SolverTimeLimitError):
        sytorch.GurobiSolver().solve(large(5), 0.01)
    never.set()


@pytest.mark.parametrize("code", [10009, 10010, 10022, 10023, 10028, 10030, 10032])
def test_auto_falls_back_from_every_error_of_licences(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise gp.GurobiError(code, "refused")

    monkeypatch.setattr(gp, "Model", refused)
    assert "highs" in sytorch.AutoSolver().solve(large(5)).solver


def test_a_repair_says_which_solvers_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        name = "failing"

        def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
            raise sytorch.SolverFailedError("stopped with status 4.")

    margins = sytorch.margin(sytorch.AffineOutputs(np.zeros((1, 2)), np.ones((1, 3))), np.array([0]), 1.0)
    made = sytorch.minimise("l1", sytorch.IdentityMetric()).subject_to(margins, 5.0)
    assert made.solve("auto").effort.solver.startswith("gurobi")
    with pytest.raises(sytorch.SolverFailedError, match="status 4"):
        made.solve(Failing())


@pytest.mark.parametrize("name", ["gurobi", "highs"])
def test_ctrl_c_stops_a_solver_in_the_middle(name: str) -> None:
    code = f"""
        import sytorch
        from tests.sytorch.solvers.test_solvers import slow
        print("solving", flush=True)
        try:
            while True:
                sytorch.solver_named("{name}").solve(slow())
        except KeyboardInterrupt:
            print("heard")
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "solving\n"
        time.sleep(0.4)
        try:
            rest = _interrupted(process)
        finally:
            process.kill()
    assert rest.splitlines()[-1] == "heard"  # Gurobi's library adds a line of its own
    assert process.returncode == 0


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """Ctrl-C is raised in what is tested: hypothesis listens to the garbage collector, where it would be lost."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()
    yield
    gc.enable()
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_highs_loses_no_ctrl_c() -> None:
    """The fault: highspy dropped those that came when the answer was there, and could wait for a lock for ever."""
    asked, solver, rng = program([2, 3], [[1, 1], [1, 3]], [4, 6]), sytorch.HighsSolver(), np.random.default_rng(0)
    for _ in range(50):
        sent = threading.Event()
        timer = threading.Timer(rng.uniform(0.001, 0.02), _press_ctrl_c, (sent,))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            while not sent.is_set():
                solver.solve(asked)
            time.sleep(0.1)
        timer.join()


@pytest.mark.usefixtures("_hears_ctrl_c")
@pytest.mark.parametrize("call", ["first", "last"])
def test_gurobi_loses_no_ctrl_c(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: its own handler, which is there while it works, drops those that come when the answer is there."""
    asked, solver = program([2, 3], [[1, 1], [1, 3]], [4, 6]), sytorch.GurobiSolver()
    calls, presses = [0], [0]

    def counted() -> None:
        take_back()
        calls[0] += 1
        if calls[0] == presses[0]:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("sytorch.solvers.gurobi._first", lambda answers, _: answers.get())
    monkeypatch.setattr("sytorch.solvers.gurobi.take_back", counted)
    solver.solve(asked)
    presses[0], calls[0] = 1 if call == "first" else calls[0], 0
    with pytest.raises(KeyboardInterrupt):
        solver.solve(asked)
    assert calls[0] >= presses[0] > 0


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_while_gurobi_looks_for_a_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(gp, "Env", lambda **_: never.wait())
    threading.Timer(0.2, _press_ctrl_c, (threading.Event(),)).start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            sytorch.GurobiSolver().solve(large(5))
        assert time.monotonic() - began < 5
    finally:
        never.set()


def _press_ctrl_c(sent: threading.Event) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    sent.set()


def _interrupted(process: subprocess.Popen[str]) -> str:
    """What it says after Ctrl-C; pressed again where the solver was just between two programs and lost it."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=6)[0]
    raise AssertionError("Ctrl-C was not heard")


def _has_full_licence() -> bool:
    try:
        with gp.Env(params={"OutputFlag": 0}) as environment, gp.Model(env=environment) as model:
            model.addMVar(2500)
            model.optimize()
    except gp.GurobiError:
        return False
    return True
