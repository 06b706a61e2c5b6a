"""Certifying a repair, or a proof that there is none: what is claimed is gathered from what was solved, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import sytorch
from checker.certificate import OF_LOGITS
from edits.methods.hidden_layer import HiddenLayer, metric_count
from edits.methods.writing import RefutedError, Repaired
from edits.network.applying import changes_of
from edits.network.prepared import Network
from edits.options import PLANTED_LAYER
from edits.outcome.certificate import Claim, Factor, NetworkFile, PartClaim, PatternClaim, certify
from edits.pace import expected
from edits.record.report import RepairReport
from edits.task import Task
from helpers.files.outputs import certificate_path, failed_paths
from helpers.files.publishing import Publication
from helpers.files.writing import save_tensors
from model_classes.changes import changes_content
from model_classes.weights import weights_hash
from sytorch.network.activation_pattern import FixedSigns
from sytorch.problem.arrays import Indices, Matrix


def certify_repair(
    report: RepairReport, task: Task, network: Network, repaired: Repaired, publishing: Publication
) -> None:
    """Make the certificate and check it; where the checker refuses, it is no repair, and the report says so."""
    file = NetworkFile(task.output, report.weights_hash_after or "", task.written)
    with task.bench.clock.phase("certify", expected("certify", task)):
        checked = certify(task, repaired_claim(task, network, repaired), file, publishing, "repaired")
    if refused := checked.refused:
        report.status, report.message = "not_verified", f"the checker refuses what was written: {refused}"
    elif task.kept_weights == "none":
        for path in publishing.folder.iterdir():
            path.unlink()
        report.outcomes_path = None
    else:
        report.output_path, report.certificate_path = str(task.output), str(certificate_path(task.output))


def certify_refutation(
    report: RepairReport, task: Task, network: Network, refuted: RefutedError, publishing: Publication
) -> None:
    """The same for a proof that there is no repair; the network that it is about is kept where it is not the base."""
    bench = task.bench
    file = NetworkFile(bench.weights_path, bench.weights_hash, bench.weights_path)
    if network is not bench.network:
        state, path = network.model.state_dict(), failed_paths(task.output)[2]
        content = changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, path)
        save_tensors(publishing.staged(path), content)
        file = NetworkFile(path, weights_hash(state), publishing.staged(path))
    claim = refuted_claim(task, network, refuted.contradiction, refuted.problem)
    with bench.clock.phase("certify", expected("certify", task)):
        checked = certify(task, claim, file, publishing, "infeasible")
    if refused := checked.refused:
        report.status, report.message = "not_proved", f"the checker refuses the proof that there is none: {refused}"
    else:
        report.certificate_path = str(failed_paths(task.output)[1])


def repaired_claim(task: Task, network: Network, repaired: Repaired) -> Claim:
    """The claim of a repair: its objective, and the lower bound where one was proved."""
    solution = repaired.solution
    if repaired.problem is not None:
        return _of_other_layer(task, repaired, repaired.problem)
    assert repaired.metric is not None
    return Claim(
        changed=changed_parameters(task),
        part=_last_layer(task, network, repaired.metric, solution.multipliers.bounds),
        allowance=repaired.allowance,
        multipliers=solution.multipliers.margins,
        objective=solution.objective,
        lower_bound=_certain_bound(repaired),
        coordinates=solution.coordinates,
        margins=np.full(len(task.constrained), task.options.margin + repaired.allowance),
        rows=_planted_rows(network),
    )


def refuted_claim(
    task: Task, network: Network, contradiction: sytorch.Contradiction, problem: HiddenLayer | None
) -> Claim:
    """The claim that no change within the bound gives the margin that was asked, patterns as they are fixed."""
    named = sytorch.part_named(task.options.layer)
    part = PartClaim(named.layer, named.units, named.bias_only)
    patterns = _patterns(problem, contradiction.pattern, {})
    margins = contradiction.multipliers.margins
    return Claim(changed_parameters(task), part, 0.0, margins, patterns, rows=_planted_rows(network))


def _certain_bound(repaired: Repaired) -> float:
    """What a checker proves as well, whose logits are rounded in another way."""
    return repaired.solution.certain_bound(OF_LOGITS * float(repaired.logits.abs().max()))


def _planted_rows(network: Network) -> dict[str, Indices]:
    return {} if network.planted is None else dict.fromkeys(planted_parameters(), network.planted)


def changed_parameters(task: Task) -> tuple[str, ...]:
    """The parameters that a repair may change."""
    options, part = task.options, sytorch.part_named(task.options.layer)
    names = [f"{part.layer}.{kind}" for kind in (("bias",) if part.bias_only else ("weight", "bias"))]
    if options.plants:
        names += planted_parameters()
    return tuple(names)


def planted_parameters() -> list[str]:
    """Of the layer whose spare units become detectors."""
    return [f"{PLANTED_LAYER}.weight", f"{PLANTED_LAYER}.bias"]


def _of_other_layer(task: Task, repaired: Repaired, problem: HiddenLayer) -> Claim:
    """The claim of a program with fixed patterns; of steps that linearise anew, only what the files show."""
    solution, bounds = repaired.solution, repaired.solution.multipliers
    if solution.path == "relinearised":
        return Claim(changed_parameters(task), None, repaired.allowance, np.zeros((0, 0)), objective=solution.objective)
    return Claim(
        changed=changed_parameters(task),
        part=_part(task, problem.view, problem.metric, bounds.bounds),
        allowance=repaired.allowance,
        multipliers=bounds.margins,
        patterns=_patterns(problem, solution.pattern, solution.distances),
        objective=solution.objective,
        lower_bound=_certain_bound(repaired),
        margins=np.full(len(task.constrained), task.options.margin + repaired.allowance),
    )


def _part(task: Task, view: sytorch.LayerView, metric: sytorch.KroneckerMetric, bounds: Matrix) -> PartClaim:
    part, options = view.part, task.options
    if options.metric == "identity":
        return PartClaim(part.layer, part.units, part.bias_only, bounds=bounds)
    here, files = metric.restricted(view), tuple[Path, ...]()
    if part.units is None and not part.bias_only:
        files = task.bench.layer_metric_files(part.layer, metric_count(options))
    arrays = [
        factor.float().numpy() if files else factor.numpy()
        for factor in (here.inputs, here.outputs)
        if factor is not None
    ]
    factors = [Factor(array, file) for array, file in zip(arrays, files or (None, None), strict=False)]
    return PartClaim(part.layer, part.units, part.bias_only, tuple(factors[:1]), tuple(factors[1:]), bounds)


def _patterns(
    problem: HiddenLayer | None, multipliers: Mapping[str, Matrix], distances: Mapping[str, float]
) -> dict[str, PatternClaim]:
    """The patterns that are fixed behind the layer that changes."""
    if problem is None:
        return {}
    pattern, claims = problem.view.pattern, {}
    for position, held in pattern.fixed.items():
        name = pattern.tail.names[position]
        fixed = held.positive if isinstance(held, FixedSigns) else held.winners
        claims[name] = PatternClaim(fixed.numpy(), distances.get(name, 0.0), multipliers[name])
    return claims


def _last_layer(task: Task, network: Network, metric: sytorch.Metric, bounds: Matrix) -> PartClaim:
    return PartClaim(task.options.layer, inputs=_factors(metric, network.metric_file(task.options)), bounds=bounds)


def _factors(metric: sytorch.Metric, cached: Path | None) -> tuple[Factor, ...]:
    if isinstance(metric, sytorch.PerClassMetric):
        return (Factor(np.stack([part.factor.T for part in metric.classes]), cached, upper=True),)
    if isinstance(metric, sytorch.SecondMomentMetric):
        upper = metric.factor.T[None]
        return (Factor(upper if cached else upper.astype(np.float32), cached, upper=True),)  # see `metric_with`
    return ()
