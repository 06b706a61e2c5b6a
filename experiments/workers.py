"""Who runs the experiments: this process, several processes, or a Ray cluster. Rows come back as they are made."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from experiments.experiment import Context, Experiment
from experiments.single import run_experiment
from experiments.table.row import Row
from helpers.errors import ToolError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Under `uv run`, Ray would pack this folder, send it to the cluster and start each worker by uv: the nodes share the
# folder. Ray reads the variable when it is imported.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


def run_here(context: Context, experiments: list[Experiment]) -> Iterator[Row]:
    """One after the other."""
    for experiment in experiments:
        yield run_experiment(context, experiment)


def run_in_processes(context: Context, experiments: list[Experiment], workers: int) -> Iterator[Row]:
    """In so many processes, each with its share of the cores.

    Raises:
        ToolError: a process died.
    """
    share = max(1, (os.cpu_count() or 1) // workers)
    os.environ.update(dict.fromkeys(THREADS, str(share)))  # inherited; BLAS reads it when it is loaded
    spawning = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawning, _begin_worker, (share,)) as pool:
        try:
            futures = [pool.submit(run_experiment, context, experiment) for experiment in experiments]
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ToolError(
                "A worker process died, perhaps for want of memory: what is finished is in the table; run the same "
                "command again, with fewer --workers."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(threads: int) -> None:
    """Ctrl-C is for the runner to hear; a worker whose runner is gone goes, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.05)
    os._exit(1)


def run_on_ray(context: Context, experiments: list[Experiment], address: str) -> Iterator[Row]:
    """On a Ray cluster whose nodes share this folder; what a lost node was running is run again elsewhere.

    Raises:
        ToolError: Ray is not installed, the cluster cannot be reached, or it loses the same experiment again and again.
    """
    try:
        import ray  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise ToolError("--ray needs the project's extra: uv sync --extra ray.") from error
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent.parent)}}
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, configure_logging=False, runtime_env=here)
    except (OSError, ValueError, RuntimeError) as error:
        ray.shutdown()  # it may be half connected
        raise ToolError(f"No Ray cluster answers at {address}: start one with `ray start --head`.") from error
    folder = str(Path.cwd())
    remote: Any = ray.remote(num_cpus=1, max_retries=10, scheduling_strategy="SPREAD")(_run_on_node)
    pending = [remote.remote(folder, context, experiment) for experiment in experiments]
    try:
        while pending:
            done, pending = ray.wait(pending)
            yield from ray.get(done)
    except ray.exceptions.RayError as error:
        raise ToolError(f"The Ray cluster failed: {str(error).splitlines()[0]}") from error
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens at ``HOST:PORT``: Ray itself takes minutes to find out."""
    host, separator, port = address.rpartition(":")
    if separator and "/" not in address:
        socket.create_connection((host, int(port)), timeout=5).close()


def _run_on_node(folder: str, context: Context, experiment: Experiment) -> Row:
    os.chdir(folder)
    return run_experiment(context, experiment)
