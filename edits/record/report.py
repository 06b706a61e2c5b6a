"""The report of a repair: what was asked, what is guaranteed, what it cost. For machines and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from helpers.text import aligned, described, percent

# What a report says of each repair that it was made upon.
STEP = (
    "timestamp", "command", "output_path", "weights_hash_after", "edit_set_path", "edit_set_size", "layer", "prepare",
    "margin", "drawdown_points", "generalization_after", "last_drawdown_points",
)  # fmt: skip


@dataclass
class RepairReport:
    """One repair, flat, so that a list of reports is a table.

    Accuracies are fractions; ``drawdown_*`` is of the test images outside the edit set, by their pixels, and None where
    these are not known; ``drawdown_note`` says why, or what else is to be known of it; ``drawdown_points`` is what they
    lost, in percentage points, and ``worst_class`` lost most; ``outside_wrong`` of them were wrong before, of which the
    repair mended ``outside_mended``, and of the right ones it broke ``outside_broken``; ``drawdown_undisputed_*`` is
    the drawdown without the test images ``disputed_images``, whose labels people dispute. ``edit_source`` says where
    the edit images are from: ``test`` or ``train``, the splits, or ``files``; None where the set does not say it;
    ``relabeled`` counts those whose label is not their dataset's. ``edit_images`` are the positions in the edit set's
    file of the images that were repaired, ``edit_test_indices`` their positions in the test set, -1 for an image that
    is not in it. ``generalization_*`` is of shifted and flipped copies of the edit images. ``min_margin`` is of the
    saved weights, in float32.
    ``prepare`` is ``spare-units`` or ``none``; older reports name the hidden layer that was moved first. With spare
    units, ``planted_units`` became detectors of ``detected_images`` edit images, in ``detected_groups`` groups that are
    detected together, those that have detectors of earlier repairs not counted, and reach as far as ``reach`` says;
    without them ``planted_loss`` of the training images get another answer; ``detected_alone`` counts edit images whose
    copies no detector is of, for ordinary images are too much like them; ``not_separable`` are the edit images, by
    their place, to which an ordinary image or one with another label responds as much, and
    ``nearest_training_images`` these, by their place in the training split, -1 for an edit image;
    ``largest_ordinary_response`` is the largest of the others', the edit image's own being 1; ``outside_detected``
    counts the other test images that set one off.
    ``copies`` counts copies of edit images, shifted by up to ``shifts`` pixels and mirrored if ``flip``, that were
    constrained besides them; ``copies_*`` is of these, ``copies_min_margin`` of the saved weights. ``seconds`` is by
    phase.
    ``earlier`` are the repairs that this one was made upon, the first one first; the first ``earlier_images`` of the
    edit images are theirs. Accuracies before are those of the network before all repairs, ``first_weights_*``, which
    older reports do not name; ``last_drawdown_points`` counts from the network that the last of them gave. The change,
    its bound and the proof count from ``weights_path``.
    """

    status: str
    message: str | None
    timestamp: str
    command: str
    edit_set_path: str
    edit_set_hash: str
    edit_set_size: int
    dataset: str
    data_root: str | None
    weights_path: str
    weights_hash_before: str
    output_path: str | None = None
    weights_hash_after: str | None = None
    outcomes_path: str | None = None
    layer: str = ""
    param_bound: float = 0.0
    margin: float = 0.0
    norm: str = ""
    metric: str = ""
    solver: str | None = None
    path: str | None = None
    rows: int | None = None
    columns: int | None = None
    programs: int | None = None
    solver_iterations: int | None = None
    barrier_iterations: int | None = None
    objective: float | None = None
    lower_bound: float | None = None
    gap: float | None = None
    min_margin: float | None = None
    edit_accuracy_before: float | None = None
    edit_accuracy_after: float | None = None
    test_accuracy_before: float | None = None
    test_accuracy_after: float | None = None
    drawdown_accuracy_before: float | None = None
    drawdown_accuracy_after: float | None = None
    drawdown_points: float | None = None
    outside_wrong: int | None = None
    outside_mended: int | None = None
    outside_broken: int | None = None
    worst_class: str | None = None
    worst_class_drawdown_points: float | None = None
    generalization_before: float | None = None
    generalization_after: float | None = None
    max_abs_change: float | None = None
    prepare: str | None = "none"
    reach: str = "none"
    pattern: str | None = None
    prepare_max_abs_change: float | None = None
    prepare_test_accuracy: float | None = None
    planted_units: int | None = None
    detected_groups: int | None = None
    detected_images: int | None = None
    planted_loss: float | None = None
    detected_alone: int | None = None
    not_separable: list[int] = field(default_factory=list)
    nearest_training_images: list[int] = field(default_factory=list)
    largest_ordinary_response: float | None = None
    outside_detected: int | None = None
    shifts: int = 0
    flip: bool = False
    copies: int = 0
    copies_accuracy_before: float | None = None
    copies_accuracy_after: float | None = None
    copies_min_margin: float | None = None
    contradicting_images: list[int] = field(default_factory=list)
    smallest_bound: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    certificate_path: str | None = None
    dataset_hash: str | None = None
    edit_images: list[int] = field(default_factory=list)
    edit_test_indices: list[int] = field(default_factory=list)
    drawdown_note: str | None = None
    earlier: list[dict[str, Any]] = field(default_factory=list)
    earlier_images: int = 0
    last_drawdown_points: float | None = None
    first_weights_path: str | None = None
    first_weights_hash: str | None = None
    edit_source: str | None = None
    relabeled: int = 0
    disputed_images: list[int] = field(default_factory=list)
    drawdown_undisputed_before: float | None = None
    drawdown_undisputed_after: float | None = None
    drawdown_undisputed_points: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as JSON writes it."""
        return asdict(self)

    @property
    def step(self) -> dict[str, Any]:
        """What the reports of later repairs say of this one."""
        return {name: getattr(self, name) for name in STEP}

    @property
    def first_weights(self) -> tuple[str, str] | None:
        """File and hash of the network before all repairs; None where an older report does not tell."""
        if self.first_weights_path is not None and self.first_weights_hash is not None:
            return self.first_weights_path, self.first_weights_hash
        counts_later = self.earlier and self.earlier[-1]["weights_hash_after"] == self.weights_hash_before
        return None if counts_later else (self.weights_path, self.weights_hash_before)


def current(content: dict[str, Any]) -> dict[str, Any]:
    """A report's JSON in today's words, whenever it was written."""
    told = {"programs": content.get("rounds"), **content, "prepare": content.get("prepare") or "none"}
    told |= {name: "fixed" for name in ("pattern", "path") if told.get(name) == "held"}
    return told


def report_table(report: RepairReport) -> str:
    """The report for the screen."""
    blocks = [_headline(report), described(_asked(report))]
    if report.objective is not None:
        blocks.append(described(_proved(report)))
    if report.edit_accuracy_after is not None:
        blocks.append(aligned(_measured(report)))
    if report.outside_wrong is not None:
        blocks.append(_others(report))
    if report.drawdown_note is not None:
        blocks.append(f"note: {report.drawdown_note}")
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.seconds.items() if seconds >= 0.005)
    blocks.append(f"seconds: {phases}; peak memory {report.peak_memory_mb:,.0f} MB")
    return "\n\n".join(blocks)


def _headline(report: RepairReport) -> str:
    if report.status == "repaired":
        count = report.edit_set_size
        images = "1 image is" if count == 1 else f"all {count} images are"
        return f"repaired: {images} classified right, each by a margin of at least {report.min_margin:.4f}"
    return f"{report.status.replace('_', ' ')}: {report.message}"


def _asked(report: RepairReport) -> list[tuple[str, str]]:
    return [
        ("edit set", f"{report.edit_set_path}{_from_where(report)}"),
        ("weights", f"{report.weights_path} -> {report.output_path or 'nothing written'}"),
        ("program", f"least {report.norm} of {report.layer} in the {report.metric} metric"),
        ("asked", f"margin {report.margin:g}, no change beyond {report.param_bound:g}"),
        *_upon(report),
        *_prepared(report),
        *_copied(report),
    ]


def _upon(report: RepairReport) -> list[tuple[str, str]]:
    if not report.earlier:
        return []
    new, last = report.edit_set_size - report.earlier_images, report.earlier[-1]["output_path"]
    return [("upon", f"{last}, whose {report.earlier_images:,} images keep their margin; {new:,} are new")]


def _from_where(report: RepairReport) -> str:
    """What is not usual of the edit images: they are no test images, or have labels of their own."""
    told = [{"train": "training images", "files": "pictures of files"}.get(report.edit_source or "", "")]
    told.append(f"{report.relabeled} with labels that were given" if report.relabeled else "")
    return f" ({', '.join(filter(None, told))})" if any(told) else ""


def _prepared(report: RepairReport) -> list[tuple[str, str]]:
    if report.prepare == "none":
        return []
    told = [("prepared", _planted(report)), ("ordinary images", _ordinary(report))]
    if report.not_separable:
        told.append(("not separable", _not_separable(report)))
    return told


def _planted(report: RepairReport) -> str:
    units = f"{report.planted_units:,} spare units of classifier.4 became detectors, reach {report.reach}"
    images = report.detected_images or report.edit_set_size - report.earlier_images
    shared = f", of {images:,} images in {report.detected_groups:,} groups" if report.detected_groups != images else ""
    return f"{units}{shared}"


def _ordinary(report: RepairReport) -> str:
    """What the detectors are to those that they are not of."""
    told = [f"without these units {percent(report.planted_loss)} of the training images get another answer"]
    if report.largest_ordinary_response is not None:
        told.append(f"largest response {report.largest_ordinary_response:.2f} of an edit image's own")
    if report.outside_detected is not None:
        told.append(f"set off by {report.outside_detected:,} of the test images outside")
    return "; ".join(told)


def _others(report: RepairReport) -> str:
    """What a repair did to the images that it was not told of."""
    return (
        f"outside the edit set: {report.outside_mended:,} of {report.outside_wrong:,} other mistakes mended, "
        f"{report.outside_broken:,} right answers broken"
    )


def _not_separable(report: RepairReport) -> str:
    """In words; numbers of images are their places in the edit set and in the training split."""
    pairs = list(zip(report.not_separable, report.nearest_training_images, strict=True))
    named = [f"{image} from {f'training image {near}' if near >= 0 else 'another'}" for image, near in pairs[:3]]
    return f"edit image {', '.join(named)}{f' and {len(pairs) - 3} more' if len(pairs) > 3 else ''}"


def _copied(report: RepairReport) -> list[tuple[str, str]]:
    if not report.copies:
        return []
    least = "" if report.copies_min_margin is None else f", each by a margin of at least {report.copies_min_margin:.4f}"
    return [("constrained, too", f"{report.copies:,} copies{least}")]


def _proved(report: RepairReport) -> list[tuple[str, str]]:
    size = f"{report.rows:,} rows x {report.columns:,} columns, {report.solver}"
    if report.programs is not None and report.programs > 1:
        size = f"{report.programs} programs, the last of {size}"
    return [
        ("objective", f"{report.objective:.8g}"),
        (
            "proved minimum",
            "none" if report.gap is None else f"{report.lower_bound:.8g} (relative gap {report.gap:.1e})",
        ),
        ("largest change", f"{report.max_abs_change:.4g}"),
        ("solved", f"{size} ({report.path})"),
    ]


def _measured(report: RepairReport) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("accuracy", "before", "after", "points"),
        _row("edit set", report.edit_accuracy_before, report.edit_accuracy_after),
        *(
            [_row("constrained copies", report.copies_accuracy_before, report.copies_accuracy_after)]
            * bool(report.copies)
        ),
        _row("all test images", report.test_accuracy_before, report.test_accuracy_after),
    ]
    if report.drawdown_accuracy_before is not None:
        rows.append(_row("outside the edit set", report.drawdown_accuracy_before, report.drawdown_accuracy_after))
    if report.last_drawdown_points is not None:
        rows.append(("against the last repair", "", "", f"{0.0 - report.last_drawdown_points:+.2f}"))
    if report.drawdown_undisputed_before is not None:
        name = f"without {len(report.disputed_images):,} disputed"
        rows.append(_row(name, report.drawdown_undisputed_before, report.drawdown_undisputed_after))
    rows.append(_row("copies of edit images", report.generalization_before, report.generalization_after))
    return rows


def _row(name: str, before: float | None, after: float | None) -> tuple[str, ...]:
    points = "-" if before is None or after is None else f"{100 * (after - before):+.2f}"
    return (name, percent(before), percent(after), points)
