"""The certificate of a repair: what is claimed and what proves it, for a checker that shares no code with this.

`verify.py` reads it. ARCHITECTURE.md, "The certificate", says what each entry means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.certificate import FORMAT, Certificate, seal
from edits.task import Task
from editset_helpers.copies import pixels_of
from helpers.files.outputs import METRIC, beside, certificate_path, failed_paths
from helpers.files.places import explained_os_errors
from helpers.files.publishing import Publication
from helpers.files.writing import sha256_of_file
from helpers.images.preprocessing import CIFAR
from helpers.stopwatch import give_memory_back
from sytorch.problem.arrays import Indices, Matrix, Vector

Arrays = dict[str, NDArray[Any]]
LARGEST_METRIC = 512 * 2**20  # bytes; a larger factor that is not in the cache is named, but not kept


@dataclass(frozen=True, eq=False)
class Factor:
    """Lower Cholesky factors of a metric, (d, d) or (G, d, d).

    Attributes:
        lower: they; upper ones where ``upper``.
        cached: the file that holds just this array; None where there is none.
    """

    lower: NDArray[np.generic]
    cached: Path | None = None
    upper: bool = False


@dataclass(frozen=True, eq=False)
class PartClaim:
    """The layer, or the part of one, that a program changes.

    Attributes:
        layer: its name.
        units: which of its outputs change, ``(start, stop)``; None for all.
        bias_only: whether only the bias changes.
        inputs, outputs: the factors of the metric; none for the identity.
        bounds: multipliers of the bound on entries, (units, inputs + 1).
    """

    layer: str
    units: tuple[int, int] | None = None
    bias_only: bool = False
    inputs: tuple[Factor, ...] = ()
    outputs: tuple[Factor, ...] = ()
    bounds: Matrix = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, eq=False)
class PatternClaim:
    """The fixed pattern of a ReLU or a pool.

    Attributes:
        fixed: bool (N, units), or int64 (N, channels, windows), positions of winners.
        distance: how far signs stay from zero in every change that the lower bound is of.
        multipliers: (N, Q), of its inequalities.
    """

    fixed: NDArray[np.generic]
    distance: float
    multipliers: Matrix


@dataclass(frozen=True, eq=False)
class Claim:
    """What is said of a program, and what proves it.

    Attributes:
        changed: the parameters that differ from the base, at most.
        part: what the program changes; None where there is none, for nothing is proved.
        allowance: by how much more than the margin it asks for.
        multipliers: of margins, (N, C).
        patterns: by module name.
        objective, lower_bound: of the change; a refutation and a change without a proof have no lower bound.
        coordinates: (C, m), whose norm is the objective; None where it is that of the change itself.
        margins: (N,), what was asked of each image.
        rows: by parameter, the only rows of it that changed; all may where it is not named.
    """

    changed: tuple[str, ...]
    part: PartClaim | None
    allowance: float
    multipliers: Matrix
    patterns: Mapping[str, PatternClaim] = field(default_factory=dict)
    objective: float | None = None
    lower_bound: float | None = None
    coordinates: Matrix | None = None
    margins: Vector | None = None
    rows: Mapping[str, Indices] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """The file of the network that a certificate is about.

    Attributes:
        path: where it will be.
        hash: of its weights.
        written: where it is now.
    """

    path: Path
    hash: str
    written: Path


def certify(task: Task, claim: Claim, network: NetworkFile, publishing: Publication, status: str) -> Certificate:
    """Write a certificate among the files that are being published, and check it as anybody would.

    Raises:
        ToolError: a file cannot be written.
    """
    path = certificate_path(task.output) if status == "repaired" else failed_paths(task.output)[1]
    arrays, found = _arrays(task, claim), {_from(network.path, task.output): network.written}
    facts = {**_facts(task, claim, status), "network": {"file": _from(network.path, task.output), "hash": network.hash}}
    facts["part"] = None if claim.part is None else _part(claim.part, task.output, publishing, found)
    facts["seal"] = seal(facts, arrays)
    stored = arrays | {"facts": np.frombuffer(json.dumps(facts, sort_keys=True).encode(), dtype=np.uint8)}
    with explained_os_errors(path):
        np.savez_compressed(publishing.staged(path), allow_pickle=False, **stored)
    base = dict(task.bench.model.state_dict()), task.bench.weights_hash
    give_memory_back()  # the checker reads a network again
    return Certificate(publishing.staged(path), task.output.parent, found, base).check()


def _facts(task: Task, claim: Claim, status: str) -> dict[str, Any]:
    options, bench = task.options, task.bench
    spec = bench.test.preprocessing
    return {
        **({} if spec == CIFAR else {"preprocessing": spec.as_json()}),
        "format": FORMAT,
        "status": status,
        "command": task.command,
        "base": {"file": _from(bench.weights_path, task.output), "hash": bench.weights_hash},
        "edit_set": {
            "file": _from(task.edit_set_path, task.output),
            "hash": task.edit_set.content_hash,
            "shifts": options.region.shifts,
            "flip": options.region.flip,
        },
        "changed": sorted(claim.changed),
        "margin": options.margin,
        "allowance": claim.allowance,
        "bound": options.param_bound,
        "norm": options.norm,
        "metric": {"name": options.metric, "made_by": task.metric_recipe},
        "pattern": list(claim.patterns),
        "distances": {name: pattern.distance for name, pattern in claim.patterns.items()},
        "objective": claim.objective,
        "lower_bound": claim.lower_bound,
    }


def _arrays(task: Task, claim: Claim) -> Arrays:
    edit_set, classes = task.edit_set, np.arange(len(task.bench.test.class_names))
    arrays: Arrays = {"positions": edit_set.file_positions, "multipliers": claim.multipliers}
    arrays["classes of labels"] = classes if edit_set.label_order is None else np.array(edit_set.label_order)
    if task.options.region.shifts:
        arrays["pixels"] = pixels_of(task.edit_set, task.bench.test)
    if claim.margins is not None:
        arrays["margins"] = claim.margins
    if claim.coordinates is not None:
        arrays["coordinates"] = claim.coordinates
    if claim.part is not None:
        arrays |= _sparse("bounds", claim.part.bounds)
    arrays |= {f"rows {name}": rows for name, rows in claim.rows.items()}
    for name, pattern in claim.patterns.items():
        arrays |= {f"fixed {name}": pattern.fixed, **_sparse(f"signs {name}", pattern.multipliers)}
    return arrays


def _sparse(name: str, matrix: Matrix) -> Arrays:
    """The entries that are not zero, and their places in the flattened matrix."""
    places = np.flatnonzero(matrix)
    return {name: matrix.ravel()[places], f"{name} at": places}


def _part(part: PartClaim, output: Path, publishing: Publication, found: dict[str, Path]) -> dict[str, Any]:
    files = {}
    for side, factors in (("inputs", part.inputs), ("outputs", part.outputs)):
        files[side] = [
            _factor_file(factor, beside(output, f"{METRIC}{side}_{number}.npy"), publishing, found)
            for number, factor in enumerate(factors)
        ]
    return {"layer": part.layer, "units": list(part.units or (None,)), "bias_only": part.bias_only, **files}


def _factor_file(factor: Factor, path: Path, publishing: Publication, found: dict[str, Path]) -> dict[str, Any]:
    """Where a checker finds a factor: in the cache, or in a file of its own beside the weights."""
    if factor.cached is not None and factor.cached.is_file():
        path, written = factor.cached, factor.cached
    else:
        written = publishing.staged(path)
        np.save(written, factor.lower)
    name, digest = _from(path, publishing.output), sha256_of_file(written)
    if path != written and factor.lower.nbytes > LARGEST_METRIC:
        written.unlink()
    else:
        found[name] = written
    return {"file": name, "hash": digest, "upper": factor.upper}


def _from(path: Path, output: Path) -> str:
    """A path as seen from the folder of the output."""
    return os.path.relpath(path.resolve(), output.resolve().parent)
