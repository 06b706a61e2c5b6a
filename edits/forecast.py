"""What repairs would be made from and about how long they take, told without making or writing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edits.earlier import Earlier, find_earlier
from edits.methods.hidden_layer import metric_count
from edits.methods.preparation import sample_size
from edits.network.workbench import Workbench, open_workbench
from edits.options import MANY_IMAGES, PLANTED_LAYER, RepairOptions, norm_for
from edits.pace import seconds_of
from edits.task import Task
from editset_helpers.edit_set import load_edit_set
from editset_helpers.generation import Wanted, place_of
from editset_helpers.selection import Selection
from helpers import progress
from helpers.activations import activations_file
from helpers.cli import DatasetName
from helpers.files.paths import edit_sets
from helpers.images.datasets import classes_of, counted, is_decoded
from helpers.images.input_spec import spec_there
from helpers.progress import duration
from helpers.text import described
from model_classes.training import PLANS, stated_weights
from sytorch import part_named

# Seconds on two cores; of an image where nothing else is said, of 64 x 64 inputs where it is convolved.
DECODED, CONVOLVED, RUN, IN_METRIC, IN_METRICS_OF_CLASSES, IN_UNITS = 3e-4, 6e-4, 1.5e-3, 8e-4, 3e-3, 1e-3
SIZES = {DatasetName.CIFAR10: (10_000, 50_000), DatasetName.DIGITS: (596, 1_201)}  # test and training images, usually
Lacking = dict[str, float]  # what is made first, and its seconds


@dataclass(frozen=True)
class Place:
    """What is there: ``bench`` is None where weights, or decoded images, are still to be made."""

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    bench: Workbench | None

    @property
    def sizes(self) -> tuple[int, int]:
        """How many test and training images there are, or usually are."""
        if self.bench is not None:
            return len(self.bench.test), len(self.bench.training)
        return counted(self.dataset, self.data_root) or SIZES[self.dataset]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The network's classes, or those it will have."""
        if self.bench is not None:
            return self.bench.test.class_names
        return spec_there(self.weights).classes or classes_of(self.dataset, self.data_root)


def open_place(dataset: DatasetName, data_root: Path | None, weights: Path | None) -> Place:
    """Look at the network and its images, if they are there; raises `ToolError` where stated weights are missing."""
    path, bench = stated_weights(dataset, data_root, weights), None
    if path.exists() and is_decoded(dataset, data_root, spec_there(path)):
        bench = open_workbench(dataset, data_root, path)
    return Place(dataset, data_root, path, bench)


def lacking(place: Place, options: RepairOptions) -> Lacking:
    """What is not there yet and would be made first, once for the images or for the network."""
    found, (tests, training) = Lacking(), place.sizes
    if place.bench is None:
        if not is_decoded(place.dataset, place.data_root, spec_there(place.weights)):
            found["the images, downloaded if need be and decoded"] = DECODED * (tests + training)
        if not place.weights.exists():
            found[f"{place.weights}, trained"] = float(PLANS[place.dataset].seconds)
    for what, (seconds, files) in _caches(options, tests, training, place).items():
        if place.bench is None or not all(file.is_file() for file in files(place.bench)):
            found[what] = seconds
    return found


def _caches(
    options: RepairOptions, tests: int, training: int, place: Place
) -> dict[str, tuple[float, Callable[[Workbench], tuple[Path, ...]]]]:
    """What a repair looks up of its network: how long it takes to make, and where it is kept."""
    layer, sample = part_named(options.layer).layer, min(sample_size(options), training)
    larger = spec_there(place.weights).preprocessing.times_larger
    convolved = f"{training:,} training images through the convolutions"
    needed: dict[str, tuple[float, Callable[[Workbench], tuple[Path, ...]]]] = {
        f"{tests:,} test images through the network": (RUN * larger * tests, lambda bench: (_seen(bench, None),)),
        convolved: (
            CONVOLVED * larger * training,
            lambda bench: (bench.training_images.channels.file(mirrored=False),),
        ),
    }
    if options.plants:
        needed[f"{PLANTED_LAYER} on {sample:,} ordinary images"] = (
            IN_UNITS * sample,
            lambda bench: bench.hidden_units(PLANTED_LAYER, sample_size(options)).files,
        )
        needed[f"{tests:,} test images up to {PLANTED_LAYER}"] = (
            RUN * larger * tests,
            lambda bench: (_seen(bench, PLANTED_LAYER),),
        )
    elif options.is_hidden and options.metric != "identity":
        count = min(metric_count(options), training)
        needed[f"metric of {layer} from {count:,} training images"] = (
            (IN_METRIC if layer.startswith("classifier.") else RUN * larger) * count,
            lambda bench: bench.layer_metric_files(layer, metric_count(options)),
        )
    elif options.metric != "identity":
        count, per_class = min(options.metric_images or training, training), options.metric == "per-class"
        mirrors = options.metric_images is None and place.dataset is not DatasetName.DIGITS
        mirrored = CONVOLVED * larger * training * mirrors
        needed[f"metric{' of each class' * per_class} from {count:,} training images"] = (
            (IN_METRICS_OF_CLASSES if per_class else IN_METRIC) * count + mirrored,
            lambda bench: tuple(filter(None, [bench.network.metric_file(options)])),
        )
    if not layer.startswith("classifier."):
        del needed[convolved]
    return needed


def _seen(bench: Workbench, layer: str | None) -> Path:
    return activations_file(bench.weights_hash, layer or bench.network.last_layer, bench.test)


def tell_time(task: Task) -> None:
    """Say about how long a repair takes, and what is made first, to those who see no line that ticks."""
    bench, images = task.bench, len(task.constrained)
    missing = lacking(Place(bench.dataset, bench.data_root, bench.weights_path, bench), task.options)
    told = made_first(missing, seconds_of(task.options, images))
    first = f"; made first, once for this network: {told['made first']}" if missing else ""
    progress.progress(f"repair of {images:,} images: {told['time']}{first}")


def forecast_repair(
    place: Place,
    source: Selection | Path,
    options: RepairOptions,
    output: Path,
    *,
    max_samples: int | None,
    also: tuple[Path, ...],
    norm_by_size: bool,
) -> dict[str, str]:
    """What a repair would be made from, with which options, and what is made first: for people, in words."""
    earlier = None if place.bench is None else find_earlier(place.bench)
    path, known = _edit_set(place, source)
    images = None if known is None else min(known, max_samples or known)
    for other in also:
        images = None if images is None else images + len(load_edit_set(other, None))
    kept = 0 if earlier is None else len(earlier.member.edit_set)
    at_most = (images or max_samples or MANY_IMAGES) + kept
    copies = 1 + len(options.region.moves)
    told = {
        "edit set": f"{path}, {'chosen first' if known is None else f'{images} images'}",
        "weights": f"{place.weights}{_upon(earlier)} -> {output}{', which exists: --force' * output.exists()}",
        **in_words(options, _norm(options, images or max_samples, kept, copies) if norm_by_size else options.norm),
    }
    if earlier is not None and earlier.counts_from_base(options):
        place = Place(place.dataset, place.data_root, earlier.base.weights_path, earlier.base)
    return told | made_first(lacking(place, options), seconds_of(options, at_most * copies))


def in_words(options: RepairOptions, norm: str) -> dict[str, str]:
    """Options as they are resolved."""
    limit, allowed = options.time_limit, options.max_drawdown
    return {
        "program": f"least {norm} of {options.layer} in the {options.metric} metric, solver {options.solver}",
        "asked": f"margin {options.margin:g}, no change beyond {options.param_bound:g}",
        "prepared": f"spare units, reach {options.reach.name}" if options.plants else "nothing",
        "limits": f"seconds {'none' if limit is None else f'{limit:g}'}, "
        f"drawdown {'none' if allowed is None else f'{allowed:g} points'}",
    }


def made_first(missing: Lacking, seconds: float) -> dict[str, str]:
    """What is lacking, and how long all takes, in words."""
    listed = "; ".join(f"{what}, {duration(cost)}" for what, cost in missing.items())
    return {"made first": listed or "nothing", "time": f"{duration(seconds + sum(missing.values()))} on two cores"}


def listed(told: dict[str, str]) -> str:
    """A forecast for the screen; what is made first has a line for each."""
    rows = [(name, part) for name, text in told.items() for part in text.split("; ")]
    before = ["", *(name for name, _ in rows)]
    return described([("" if name == last else name, part) for (name, part), last in zip(rows, before, strict=False)])


def _edit_set(place: Place, source: Selection | Path) -> tuple[Path, int | None]:
    """Its file, and how many images it holds; None where it is still to be made."""
    if isinstance(source, Path):
        return source, len(load_edit_set(source, None))
    folder = edit_sets(place.dataset, place.data_root)
    if place.bench is None:
        return folder, None
    images = place.bench.test if source.split == "test" else place.bench.training
    found = place_of(Wanted(source, images, place.bench.weights_hash), folder)
    return found.path, len(load_edit_set(found.path, None)) if found.exists else None


def _upon(earlier: Earlier | None) -> str:
    return "" if earlier is None else f", whose {len(earlier.member.edit_set)} images keep their margin"


def _norm(options: RepairOptions, images: int | None, kept: int, copies: int) -> str:
    """What is minimised, by the size of the edit set where that is known."""
    if options.is_hidden or images is not None:
        return options.norm if options.is_hidden else norm_for(((images or 0) + kept) * copies, options.metric)
    few, many = norm_for(1, options.metric), norm_for(MANY_IMAGES + 1, options.metric)
    return few if few == many else f"{few} ({many} for more than {MANY_IMAGES} images)"
