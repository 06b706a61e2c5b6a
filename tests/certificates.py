"""Repairs of every kind and their certificates; and certificates, weights and edit sets with something altered.

python -m tests.certificates repairs              # every kind of repair of the digits, each checked by verify.py
python -m tests.certificates mutations --count 500
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import verify
from checker.certificate import Certificate
from checker.certificate import seal as seal_of
from checker.network import read_weights
from edits.network.workbench import Workbench, open_workbench
from edits.options import NORMS, REACHES, SOLVERS, MetricName, RepairOptions
from edits.pipeline import repair_edit_set
from edits.record.report import RepairReport
from edits.task import Task
from editset_helpers.building import select
from editset_helpers.edit_set import EditSet, save_edit_set
from editset_helpers.regions import Region
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.remembering import remembers
from model_classes.changes import ROWS
from model_classes.training import ensure_baseline

OUTPUT = Path("artifacts/repaired.pth")
EDIT_SET = Path("data/edit_sets/mutated_edit_dataset.pt")
LAST = RepairOptions(prepare="none")
HIDDEN = replace(LAST, norm="l2")
MUTATED = [  # the last one has no repair
    LAST,
    replace(LAST, norm="l2", region=Region(1)),
    replace(HIDDEN, layer="classifier.4.bias", margin=0.01),
    RepairOptions(),
    replace(RepairOptions(), param_bound=0.1, margin=400),
]
LAYERS = ["classifier.4", "classifier.4.bias", "classifier.4[0:400]", "classifier.1", "features.10", "features.6"]


def kinds() -> Iterator[RepairOptions]:
    """Every norm, metric, solver, way of preparing, copies, layer and pattern; some of them together."""
    metrics: tuple[MetricName, ...] = ("training", "identity")
    for norm, metric, bound in itertools.product(NORMS, metrics, (5.0, 0.1)):
        yield replace(LAST, norm=norm, metric=metric, param_bound=bound)
    for solver, norm in itertools.product(SOLVERS, NORMS[::3]):
        yield replace(LAST, solver=solver, norm=norm)
    for norm in NORMS:
        yield replace(LAST, norm=norm, whole_program=True)
        yield replace(LAST, norm=norm, prepare="spare-units")
    yield replace(LAST, norm="l2", metric="per-class")
    yield replace(LAST, norm="l2", metric="per-class", region=Region(flip=True))
    for region in (Region(flip=True), Region(1), Region(1, True), Region(2)):
        yield replace(LAST, region=region, norm="l2")
    for reach in REACHES.values():
        yield replace(LAST, prepare="spare-units", norm="l2", reach=reach)
    yield replace(LAST, prepare="spare-units", norm="l2", region=Region(flip=True))
    for layer in LAYERS:
        yield replace(HIDDEN, layer=layer)
        if "." not in layer.removeprefix("classifier.").removeprefix("features."):
            yield replace(HIDDEN, layer=layer, pattern="relinearise")
    yield replace(HIDDEN, layer="classifier.6.bias", margin=0.01)
    for bound in (1e-3, 1e-4):
        yield replace(LAST, param_bound=bound)
        yield replace(HIDDEN, param_bound=bound, layer="classifier.4")
        yield replace(LAST, param_bound=bound, prepare="auto", norm="l2")


@dataclass(frozen=True)
class Place:
    """A network and its misclassified digits."""

    bench: Workbench
    edit_set: EditSet

    def repair(self, options: RepairOptions, output: Path = OUTPUT) -> RepairReport:
        """Repair with these options; only what changed is kept of the weights."""
        return repair_edit_set(
            Task(self.bench, self.edit_set, EDIT_SET, options, output, "a test", kept_weights="changed-layer")
        )

    @remembers(20)
    def certificate(self, options: RepairOptions, output: Path) -> Path:
        """The certificate of a repair that is made once; whoever alters its files puts them back."""
        return certificate_of(self.repair(options, output))


def place(count: int | None = None) -> Place:
    """The digits in the folder that one is in, their baseline trained if it is not there."""
    weights = ensure_baseline(DatasetName.DIGITS, None, None)
    bench = open_workbench(DatasetName.DIGITS, None, weights)
    edit_set = select(Selection("misclassified", max_samples=count), bench.test, bench.test_logits)
    save_edit_set(edit_set, EDIT_SET)
    return Place(bench, edit_set)


def certificate_of(report: RepairReport) -> Path:
    """The certificate of a repair, or of the proof that there is none."""
    assert report.certificate_path is not None, f"{report.status}: {report.message}"
    return Path(report.certificate_path)


@dataclass(frozen=True)
class Sealed:
    """A certificate's content, which can be altered and sealed anew, as a forger would."""

    facts: dict[str, Any]
    arrays: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Sealed:
        """From its file."""
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return cls(json.loads(arrays.pop("facts").tobytes()), arrays)

    def write(self, path: Path, *, seal: bool) -> None:
        """To a file, with the seal that it has or with a new one."""
        facts = {**self.facts, "seal": seal_of(self.facts, self.arrays)} if seal else self.facts
        facts_array = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), dtype=np.uint8)
        np.savez(path, allow_pickle=False, **self.arrays, facts=facts_array)


def flipped(array: np.ndarray[Any, Any], rng: random.Random) -> np.ndarray[Any, Any]:
    """A copy with one bit flipped."""
    data = bytearray(np.ascontiguousarray(array).tobytes())
    position = rng.randrange(8 * len(data))
    data[position // 8] ^= 1 << position % 8
    return np.frombuffer(bytes(data), dtype=array.dtype).reshape(array.shape)


def mutations(path: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], None]]]:
    """Endless alterations: what is altered, and a function that does it in place."""
    while True:
        yield rng.choice([_of_array, _of_fact, _of_weights, _of_edit_set])(path, rng)


def _of_array(path: Path, rng: random.Random) -> tuple[str, Callable[[], None]]:
    sealed = Sealed.read(path)
    name = rng.choice([name for name, array in sealed.arrays.items() if array.size])
    altered = replace(sealed, arrays={**sealed.arrays, name: flipped(sealed.arrays[name], rng)})
    return f"a bit of {name}", lambda: altered.write(path, seal=False)


def _of_fact(path: Path, rng: random.Random) -> tuple[str, Callable[[], None]]:
    sealed = Sealed.read(path)
    places = list(_leaves(sealed.facts))
    keys, value = rng.choice(places)
    facts = json.loads(json.dumps(sealed.facts))
    at = facts
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = _altered(value, rng)
    return f"{keys}: {value!r} -> {at[keys[-1]]!r}", lambda: replace(sealed, facts=facts).write(path, seal=False)


def _leaves(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, (*keys, key))
    else:
        yield keys, value


def _altered(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return float(np.nextafter(value, rng.choice([-np.inf, np.inf])))
    if isinstance(value, int):
        return value + rng.choice([-1, 1])
    if not value:
        return "x"
    position = rng.randrange(len(value))
    return value[:position] + chr(ord(value[position]) ^ 1) + value[position + 1 :]


def _of_weights(path: Path, rng: random.Random) -> tuple[str, Callable[[], None]]:
    weights = path.with_name(Sealed.read(path).facts["network"]["file"])
    content = torch.load(weights, weights_only=True)
    changes = content.get("changes", content)  # of a refutation without a preparation it is the base itself
    name = rng.choice(list(changes))
    change = changes[name].numpy()
    altered = flipped(change, rng)
    if "changes" in content and not name.endswith(ROWS):
        rows = changes.get(f"{name}{ROWS}", slice(None))
        state = read_weights(Path("artifacts/alexnet_base_digits.pth"), {})[name][rows].double().numpy()
        while np.array_equal((state + altered).astype(np.float32), (state + change).astype(np.float32), equal_nan=True):
            altered = flipped(change, rng)
    changes[name] = torch.from_numpy(altered.copy())
    return f"a bit of {name} in {weights.name}", lambda: torch.save(content, weights)


def _of_edit_set(path: Path, rng: random.Random) -> tuple[str, Callable[[], None]]:
    file = path.parent / Sealed.read(path).facts["edit_set"]["file"]
    content = torch.load(file, weights_only=True)
    name = rng.choice(["images", "labels"])
    content[name] = torch.from_numpy(flipped(content[name].numpy(), rng).copy())
    return f"a bit of the edit set's {name}", lambda: torch.save(content, file)


def refused(path: Path, count: int, seed: int) -> list[str]:
    """What was altered of so many copies of a result, one thing each, and was accepted all the same."""
    wrong, rng = [], random.Random(seed)
    sealed = Sealed.read(path)
    files = [path, path.with_name(sealed.facts["network"]["file"]), path.parent / sealed.facts["edit_set"]["file"]]
    kept = {file: file.read_bytes() for file in files}
    assert Certificate(path).check().accepted
    for what, alter in itertools.islice(mutations(path, rng), count):
        alter()
        if verdict(path):
            wrong.append(what)
        for file, content in kept.items():
            if file.read_bytes() != content:
                file.write_bytes(content)
    assert Certificate(path).check().accepted
    return wrong


def verdict(path: Path) -> bool:
    """Whether a certificate is accepted; one that cannot be read is not."""
    try:
        return Certificate(path).check().accepted
    except verify.UNREADABLE:
        return False


def check_repairs(images: int | None) -> int:
    """Repair so many digits in every way; print a line for each; return how many certificates were not accepted.

    What claims nothing, since the time was up or nothing was proved, needs none.
    """
    here, wrong, counts = place(images), 0, dict[str, int]()
    for options in kinds():
        report = here.repair(options)
        paths = [Path(report.certificate_path)] if report.certificate_path else []
        accepted = all(Certificate(path).check().accepted for path in paths)
        counts[report.status] = counts.get(report.status, 0) + 1
        wrong += not (accepted and (paths or report.status in {"time_limit", "not_proved"}))
        differing = {
            name: value for name, value in vars(options).items() if value != getattr(RepairOptions(), name, None)
        }
        told = "accepted" if paths and accepted else report.message
        print(f"{report.status:<13} {told}: {' '.join(f'{k}={v}' for k, v in differing.items())}", flush=True)
    print(f"{sum(counts.values())} repairs, {counts}; {wrong} not accepted")
    return wrong


def check_mutations(count: int, seed: int) -> int:
    """Alter repairs of several kinds; print what was accepted all the same, and return how many that are."""
    here, wrong = place(4), list[str]()
    each = -(-count // len(MUTATED))
    for options in MUTATED:
        wrong += refused(certificate_of(here.repair(options)), each, seed)
    print(f"{each * len(MUTATED)} mutations, {len(wrong)} accepted: {wrong}")
    return len(wrong)


def main() -> int:
    """Read the command line; everything happens in a folder that is removed in the end, or in the one named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["repairs", "mutations"])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--images", type=int, help="so many digits are repaired; by default all that are misclassified")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="a folder to work in, which stays")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.chdir(folder):
            repairs = arguments.what == "repairs"
            return min(
                check_repairs(arguments.images) if repairs else check_mutations(arguments.count, arguments.seed), 1
            )
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
