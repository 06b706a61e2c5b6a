"""A certificate: what it claims of a repair, and how each claim is checked."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checker.network import LAYERS, RefusedError, Weights, copies_of, hash_of, need, read_base, read_weights, run, slack
from checker.terms import bends, chosen, margin_rows, matrix_of, norm, read_factors, size, symmetric_roots

FORMAT = "alexnet-repair certificate 2"
ROUNDING = 1e-4  # relative: what float32 makes of images is not the same to the bit everywhere
OF_LOGITS = 1e-5  # the same, of the largest logit: who certifies keeps so much of what every row lacks back
NOISE = 1e-12  # the same, of sums in float64
MOST_MORE = 2e-2  # than the margin, of the largest logit, that a program may ask for so that rounding takes none
NEEDED = ("seal", "networks", "edit set")  # nothing more can be said where one of these does not hold


def seal(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """SHA-256 of all that a certificate says, without this hash itself."""
    digest = hashlib.sha256(json.dumps({**facts, "seal": None}, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
    return digest.hexdigest()


class Certificate:
    """A certificate. Its files are ``found`` by name, else in ``place``, its folder; a ``base`` was read and hashed."""

    def __init__(
        self,
        path: Path,
        place: Path | None = None,
        found: Mapping[str, Path] | None = None,
        base: tuple[Weights, str] | None = None,
    ):
        with np.load(path, allow_pickle=False) as content:
            self.arrays = {name: content[name] for name in content.files}
        self.facts: dict[str, Any] = json.loads(self.arrays.pop("facts").tobytes())
        self.tensors = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        self.place, self.found, self.known_base = place or path.parent, found or {}, base
        self.lines = list[tuple[str, str, str]]()

    def check(self) -> Certificate:
        """Check all claims; each gets a line: ``ok``, ``FAILS`` or ``not checked``, its name, and what was seen."""
        proved = ["refutation"] if self.facts.get("status") == "infeasible" else ["pattern", "optimum"]
        proof = ["margins", "change", *proved] if len(proved) > 1 else ["change", *proved]
        for name in ["seal", "networks", "edit set", *proof]:
            try:
                seen: str | None = getattr(self, f"_{name.replace(' ', '_')}")()
                if seen is not None:
                    self.lines.append(("ok", name, seen))
            except FileNotFoundError as error:
                state = "not checked" if name == "optimum" else "FAILS"  # a metric is large, and may be gone
                self.lines.append((state, name, f"{error.filename} is not there"))
            except RefusedError as error:
                self.lines.append(("FAILS", name, str(error)))
            except Exception as error:  # whatever a damaged file leads to
                self.lines.append(("FAILS", name, f"it cannot be read: {type(error).__name__}: {error}"[:200]))
            if name in NEEDED and self.lines[-1][0] != "ok":
                break
        return self

    @property
    def accepted(self) -> bool:
        """Whether all claims were checked, and hold."""
        return bool(self.lines) and all(state == "ok" for state, *_ in self.lines)

    @property
    def refused(self) -> str:
        """What fails, for people; empty where nothing does, though something may not have been checked."""
        return "; ".join(f"{name}: {seen}" for state, name, seen in self.lines if state == "FAILS")

    def _path(self, said: Mapping[str, str]) -> Path:
        return self.found.get(said["file"], self.place / said["file"])

    def _seal(self) -> str:
        known = self.facts["format"] == FORMAT and self.facts["status"] in {"repaired", "infeasible"}
        need(known and self.facts["seal"] == seal(self.facts, self.arrays), "it was altered")
        return "the certificate is as it was written"

    def _networks(self) -> str:
        base, other = self.facts["base"], self.facts["network"]
        self.base, found = self.known_base or read_base(self._path(base))
        need(found == base["hash"], f"{base['file']} holds other weights than those repaired")
        self.network = read_weights(self._path(other), self.base, base["hash"], (self.place / other["file"]).parent)
        need(hash_of(self.network) == other["hash"], f"{other['file']} holds other weights than those certified")
        self.network |= {key: own for key, own in self.base.items() if own.equal(self.network[key])}  # 160 MB less
        return f"{other['file']} and its base {base['file']} are the files that were certified"

    def _edit_set(self) -> str:
        said = self.facts["edit_set"]
        content = torch.load(self._path(said), map_location="cpu", weights_only=True)
        images, at = content["images"].detach().to_dense(), self.tensors["positions"]
        images = (images / 255 if images.dtype == torch.uint8 else images.float())[at].contiguous()
        order = self.tensors["classes of labels"]
        need(len(set(order.tolist())) == len(order), "two classes of the edit set count as one")
        labels = order[content["labels"].to_dense().long()[at]].contiguous()
        digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        need(digest == said["hash"], f"{said['file']} holds other images or labels than those repaired")
        copies = copies_of(images, self.tensors.get("pixels", images), said, self.facts.get("preprocessing", {}))
        self.images, self.labels = torch.cat([images, *copies]), labels.repeat(1 + len(copies))
        told = "" if order.equal(torch.arange(len(order))) else f", whose classes are the network's {order.tolist()}"
        return f"{len(images)} images of {said['file']}, with {len(self.images) - len(images)} copies{told}"

    def _margins(self) -> str:
        logits = self._logits(self.images)
        found = logits.gather(1, self.labels[:, None]) - logits.scatter(1, self.labels[:, None], -torch.inf)
        least, asked, self.most = float(found.min()), self.facts["margin"], float(logits.abs().max())
        need(least >= asked, f"an image has the margin {least:.6g}; {asked:g} was asked")
        return f"every image is right by {least:.6g} at least; {asked:g} was asked"

    def _logits(self, images: Tensor) -> Tensor:
        """The logits of images; what the layer of the program gets from them is kept."""
        layer = (self.facts["part"] or {"layer": "classifier.6"})["layer"]
        seen = (run(self.network, part, {}) for part in torch.split(images, 250))
        logits, self.reached = zip(*((one["logits"], one[layer]) for one in seen), strict=True)
        self.shape = (len(images), len(logits[0][0]))
        return torch.cat(logits)

    def _change(self) -> str:
        apart = ((name, self.network[name], old) for name, old in self.base.items() if self.network[name] is not old)
        pairs = ((name, new[at := (new != old).reshape(len(old), -1).any(1)], old[at]) for name, new, old in apart)
        moved = {name: float((new.double() - old).abs().max()) for name, new, old in pairs}
        most, bound = max(moved.values(), default=0.0), self.facts["bound"]
        need(set(moved) <= set(self.facts["changed"]), "other weights changed than the certificate names")
        need(all(move <= bound for move in moved.values()), f"an entry changed by {most:.9g}; the bound is {bound:g}")
        layer = (self.facts["part"] or {"layer": ""})["layer"]
        for name in (name for name in moved if layer and name.rpartition(".")[0] != layer):  # it was planted before
            named = self.base[name].index_copy(0, rows := self.tensors[f"rows {name}"], self.network[name][rows])
            need(named.equal(self.network[name]), f"other rows of {name} changed than the certificate names")
        return f"{', '.join(sorted(moved)) or 'nothing'} changed, by {most:.6g} at most; the bound is {bound:g}"

    def _pattern(self) -> str | None:
        if not self.facts["pattern"]:
            return None
        before, after = (run(weights, self.images, {}) for weights in (self.base, self.network))
        for name in self.facts["pattern"]:
            left = slack(name, after[name], self.tensors[f"fixed {name}"])
            least = 0.0 if LAYERS[name][0] == "relu" else 1e-6 * max(1.0, float(after[name].abs().max()))
            kept = (left >= -least) | (left == slack(name, before[name], self.tensors[f"fixed {name}"]))
            need(bool(kept.all()), f"{int((~kept).sum())} activations of {name} left their pattern")
        return "all activations are as they were fixed"

    def _optimum(self) -> str | None:
        claimed, low, name = self.facts["objective"], self.facts["lower_bound"], self.facts["norm"]
        if low is None:
            return None
        need(0 <= low <= claimed * (1 + ROUNDING) < math.inf, f"{low:.8g} is no lower bound of {claimed:.8g}")
        margins, more = self.tensors["margins"].double(), self.facts["allowance"]
        asked, far = self.facts["margin"] + more, self.facts["distances"]
        need(margins.shape == self.labels.shape and bool((margins == asked).all()), "the program has other margins")
        need(0 <= more <= MOST_MORE * max(1, self.most), f"it asks for {more:g} more than the margin")
        part, kind = self._part(), self.facts["metric"]["name"]
        need((kind == "identity") == (not part["inputs"] + part["outputs"]), f"the metric is not {kind}")
        value, slope = self._weighed(margins, far)
        whole = matrix_of(self.network, part["layer"]) - matrix_of(self.base, part["layer"])
        change = chosen(whole, part)
        need(int((whole != 0).sum()) == int((change != 0).sum()), "more of a layer changed than its part")
        held = torch.zeros_like(whole).put_(self.tensors["bounds at"], self.tensors["bounds"])
        value, gradient = value - self.facts["bound"] * float(held.abs().sum()), chosen(slope - held, part)
        if "coordinates" in self.tensors:
            x, pulled = self._in_coordinates(self._factors(part["inputs"])[0], change, gradient)
            objective, dual = norm(name, x), norm(name, pulled, dual=True)
        elif name == "l2":
            both = self._factors(part["inputs"]), self._factors(part["outputs"])
            objective, dual = size(change, *both), size(gradient, *both, dual=True)
        else:
            objective, dual = norm(name, change), norm(name, gradient, dual=True)
        noise = NOISE * max(1, self.most) * float(self.tensors["multipliers"].sum())
        proved = (value - noise) / dual if value > noise and dual else 0.0
        need(abs(objective - claimed) <= ROUNDING * claimed, f"the objective is {objective:.8g}, not {claimed:.8g}")
        need(proved >= low * (1 - ROUNDING), f"the multipliers prove {proved:.8g}, not {low:.8g}")
        told = f"{name} in the {kind} metric {objective:.8g}; for margins of {asked:.6g} it is {low:.8g} at least"
        return f"the change of {self._name(part)} has {told}"

    def _part(self) -> dict[str, Any]:
        """What of a layer the program changes; its multipliers are made ready, for any multiple proves the same."""
        part: dict[str, Any] = self.facts["part"]
        own = {f"{part['layer']}.bias"} | (set() if part["bias_only"] else {f"{part['layer']}.weight"})
        need(own == {name for name in self.facts["changed"] if name.startswith(part["layer"] + ".")}, "another part")
        units, most = part["units"], len(self.base[f"{part['layer']}.bias"])
        whole = units == [None] or (len(units) == 2 and 0 <= units[0] < units[1] <= most)
        need(whole and all(type(unit) is int for unit in units if units != [None]), "the part is no range of units")
        names, shape = ["multipliers", "bounds", *(f"signs {one}" for one in self.facts["pattern"])], self.shape
        need(self.tensors["multipliers"].shape == shape, "there is not a multiplier for each row")
        self.tensors["multipliers"] = self.tensors["multipliers"].clamp(min=0).scatter(1, self.labels[:, None], 0)
        largest = max(float(self.tensors[name].abs().max()) for name in names if self.tensors[name].numel())
        need(largest < math.inf, "multipliers are not finite")
        self.tensors |= {name: self.tensors[name].double() / (largest or 1.0) for name in names}
        return part

    def _name(self, part: Mapping[str, Any]) -> str:
        units = "" if part["units"] == [None] else "[{}:{}]".format(*part["units"])
        return f"{part['layer']}{units}{'.bias' * part['bias_only']}"

    def _refutation(self) -> str:
        self._logits(self.images.double())
        part = self._part()
        value, slope = self._weighed(torch.full((len(self.labels),), self.facts["margin"], dtype=torch.float64), {})
        most = self.facts["bound"] * float(chosen(slope, part).abs().sum())
        need(value > most * (1 + 1e-9), f"the multipliers ask for {value:.8g}, and changes can give {most:.8g}")
        named = f"no change of {self._name(part)} within {self.facts['bound']:g}"
        return f"the multipliers ask for {value:.8g}; {named} gives more than {most:.8g}"

    def _weighed(self, margins: Tensor, distances: Mapping[str, float]) -> tuple[float, Tensor]:
        """What the weighted rows lack in all without a change, and by how much changes raise them: (value, slope)."""
        layer = self.facts["part"]["layer"]
        own = {f"{layer}.{kind}": self.base[f"{layer}.{kind}"].double().requires_grad_() for kind in ("weight", "bias")}
        value, slopes = 0.0, [torch.zeros_like(parameter) for parameter in own.values()]
        for lacks in self._lacks(self.network | own, margins, distances):
            value += lacks.item()
            slopes = [old - new for old, new in zip(slopes, torch.autograd.grad(lacks, [*own.values()]), strict=True)]
        return value, matrix_of(dict(zip(own, slopes, strict=True)), layer)

    def _lacks(self, weights: Weights, margins: Tensor, distances: Mapping[str, float]) -> Iterator[Tensor]:
        """The sum over rows of a multiplier times what the row lacks, some images at a time."""
        layer, multipliers = self.facts["part"]["layer"], self.tensors["multipliers"]
        signs = {name: self.tensors[f"signs {name}"].clamp(min=0) for name in self.facts["pattern"]}
        need(bends(layer) <= set(signs), "activations behind the layer are not fixed")
        for at, reached in zip(torch.split(torch.arange(count := len(self.images)), 250), self.reached, strict=True):
            fixed = {name: self.tensors[f"fixed {name}"][at] for name in signs}
            seen = run(weights, reached.double(), fixed, layer)
            lacks = margin_rows(seen["logits"], self.labels[at], margins[at], multipliers[at])
            for name, pattern in fixed.items():
                left = slack(name, seen[name], pattern)
                far = ROUNDING * left.detach().abs().amax().clamp(min=1)
                need(bool((left >= -far).all()), f"{name} is fixed otherwise than it was")
                most = MOST_MORE / ROUNDING * float(far)
                need(distances.get(name, 0.0) <= most, f"{name} is to stay far within its pattern")
                rows = torch.zeros(count * left.shape[1]).double().put_(self.tensors[f"signs {name} at"], signs[name])
                lacks = lacks + (rows.view(count, -1)[at] * (distances.get(name, 0.0) - left)).sum()
            yield lacks

    def _factors(self, files: list[dict[str, Any]]) -> list[Tensor]:
        return [factor for said in files for factor in read_factors(self._path(said), said["hash"], said["upper"])]

    def _in_coordinates(self, factor: Tensor, change: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates in the span of the images, (C, N), of which part may move nothing; a gradient pulled back."""
        seen, x = torch.constant_pad_nd(torch.cat(self.reached).double(), (0, 1), 1.0), self.tensors["coordinates"]
        solved = torch.cholesky_solve(seen.T, factor)
        root, inverse = symmetric_roots(seen @ solved)
        moved, wanted, length = change @ seen.T, x @ root, float((x @ root @ inverse).norm())
        need(float((moved - wanted).abs().max()) <= ROUNDING * max(1.0, float(moved.abs().max())), "x moves otherwise")
        need(abs(size(change, [factor], []) - length) <= ROUNDING * length, "x is not the change")
        return x, slope @ solved @ inverse
