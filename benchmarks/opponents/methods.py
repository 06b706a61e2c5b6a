"""The methods that are compared, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.opponents.case import Run
from benchmarks.opponents.closed_form import closed_form
from benchmarks.opponents.fine_tuning import Setting, fine_tuning
from benchmarks.opponents.ours import ours
from benchmarks.opponents.right_images import l1_with_right_images
from benchmarks.opponents.trainable import Part
from benchmarks.opponents.whole import solve_with_gurobi, solve_with_highs, whole
from edits.options import REACHES

# A high weight reaches the margins fast; a low one, where it reaches them in time, leaves more of the others right.
LAST_GRID = Setting(1e-2, 1.0), Setting(1e-2, 0.1), Setting(3e-2, 0.1)
CLASSIFIER_GRID = Setting(1e-3, 1.0), Setting(1e-3, 0.3), Setting(1e-3, 0.1)
WHOLE_GRID = Setting(3e-4, 1.0), Setting(3e-4, 0.3), Setting(3e-4, 0.1)


@dataclass(frozen=True)
class Method:
    """One way to put an edit set right.

    Attributes:
        name: for the command line and the table on disk.
        label: for people.
        run: does it.
    """

    name: str
    label: str
    run: Run


def _ours() -> list[Method]:
    """Each reach of the detectors; the last layer alone by each norm; then the identity metric."""
    last: dict[str, Any] = {"prepare": "none"}
    table: list[tuple[str, str, dict[str, Any]]] = [
        ("default", "default: spare units, near; l1, above 200 images l2", {}),
        ("exact", "spare units, exact, l2", {"norm": "l2", "reach": REACHES["exact"]}),
        ("wide", "spare units, wide, l2", {"norm": "l2", "reach": REACHES["wide"]}),
        ("l1", "last layer, l1", {"norm": "l1", **last}),
        ("l2", "last layer, l2", {"norm": "l2", **last}),
        ("per-class", "last layer, l2, a metric of each class", {"norm": "l2", "metric": "per-class", **last}),
        ("linf", "last layer, linf", {"norm": "linf", **last}),
        ("linf-l1", "last layer, linf+l1", {"norm": "linf+l1", **last}),
        ("identity-l1", "last layer, l1 of the weights", {"norm": "l1", "metric": "identity", **last}),
        ("identity-linf-l1", "last layer, linf+l1 of the weights", {"norm": "linf+l1", "metric": "identity", **last}),
    ]
    return [Method(f"ours-{name}", f"ours: {label}", ours(**options)) for name, label, options in table]


def _opponents() -> list[Method]:
    weights, tuning = "whole LP in weights and outputs", "fine-tuning"
    return [
        Method("whole-ipm", f"{weights}: HiGHS interior point", whole(solve_with_highs)),
        Method("whole-gurobi", f"{weights}: Gurobi", whole(solve_with_gurobi, licence="yes")),
        Method("right-images", "l1 of the weights, right images kept", l1_with_right_images),
        Method("tune-last", f"{tuning}: last layer", fine_tuning(Part.LAST_LAYER, *LAST_GRID)),
        Method("tune-classifier", f"{tuning}: classifier", fine_tuning(Part.CLASSIFIER, *CLASSIFIER_GRID)),
        Method("tune-whole", f"{tuning}: whole network", fine_tuning(Part.WHOLE, *WHOLE_GRID)),
        Method("closed-form", "closed form of ROME and MEMIT", closed_form),
    ]


METHODS = {method.name: method for method in [*_ours(), *_opponents()]}
