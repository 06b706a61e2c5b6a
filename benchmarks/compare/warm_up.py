"""What depends on the network alone is computed before the first method runs, so that none pays for it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from edits.methods.preparation import SAMPLE
from edits.network.workbench import open_workbench
from edits.options import PLANTED_LAYER, RepairOptions
from helpers.cli import DatasetName
from helpers.errors import ToolError


def warm_up(dataset: DatasetName, data_root: Path | None, weights: Path) -> str:
    """Fill the cache, in a process that gives its memory back; returns the network's hash.

    Raises:
        ToolError: images or weights are missing, or the process dies.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            return pool.submit(_fill_cache, dataset, data_root, weights).result()
    except BrokenProcessPool as error:
        raise ToolError("The process that fills the cache died, perhaps for want of memory.") from error


def _fill_cache(dataset: DatasetName, data_root: Path | None, weights: Path) -> str:
    bench = open_workbench(dataset, data_root, weights)
    bench.metric(RepairOptions(prepare="none"))
    bench.hidden_units(PLANTED_LAYER, SAMPLE).fill_cache()
    bench.training_images.channels.all(mirrored=False)
    _ = bench.training_images.logits
    _ = bench.test_logits
    return bench.weights_hash
