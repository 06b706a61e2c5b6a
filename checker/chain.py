"""The certificate of any network that is a chain of known layers; everything is in its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from checker.certificate import MOST_MORE, NOISE, ROUNDING, Certificate, seal
from checker.network import RefusedError, Weights, need
from checker.terms import matrix_of, size

CHAIN = "sytorch certificate 1"
BATCH = 1000
Watch = Callable[[str, list[Any], Tensor], None]


def certificate_of(path: Path) -> Certificate | ChainCertificate:
    """The certificate in a file, of either kind."""
    with np.load(path, allow_pickle=False) as content:
        facts = json.loads(content["facts"].tobytes())
    return ChainCertificate(path) if facts.get("format") == CHAIN else Certificate(path)


class ChainCertificate:
    """What is claimed of a repaired network: points have what is required, the change is within a bound and least."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as content:
            self.arrays = {name: content[name] for name in content.files}
        self.facts: dict[str, Any] = json.loads(self.arrays.pop("facts").tobytes())
        need(self.facts["format"] == CHAIN, "it has another format")
        self.lines = list[tuple[str, str, str]]()
        tensors = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        self.tensors = tensors
        self.before = {name[7:]: value for name, value in tensors.items() if name.startswith("before ")}
        self.after = self.before | {name[6:]: value for name, value in tensors.items() if name.startswith("after ")}

    def check(self) -> ChainCertificate:
        """Check all claims; each gets a line: ``ok`` or ``FAILS``, its name, and what was seen."""
        polytopes = ("polytopes",) if "owners" in self.arrays else ()
        for name in ("seal", "required", *polytopes, "change", "optimum"):
            try:
                self.lines.append(("ok", name, getattr(self, f"_{name}")()))
            except RefusedError as error:
                self.lines.append(("FAILS", name, str(error)))
            except Exception as error:  # whatever a damaged file leads to
                self.lines.append(("FAILS", name, f"it cannot be read: {type(error).__name__}: {error}"[:200]))
        return self

    @property
    def accepted(self) -> bool:
        """Whether all claims hold."""
        return bool(self.lines) and all(state == "ok" for state, *_ in self.lines)

    def _seal(self) -> str:
        need(
            self.facts["status"] == "repaired" and seal(self.facts, self.arrays) == self.facts["seal"], "it was altered"
        )
        return "nothing was altered"

    def _run(self, weights: Weights, values: Tensor, until: str | None = None, watch: Watch | None = None) -> Tensor:
        """The outputs of points; or what one layer gets from them. What each layer gets can be watched."""
        for name, kind, *sizes in self.facts["layers"]:
            if name == until:
                return values
            if watch is not None:
                watch(kind, sizes, values)
            both = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
            if kind == "linear":
                values = functional.linear(values, *both)  # type: ignore[arg-type]
            elif kind == "conv":
                values = functional.conv2d(values, *both, *sizes)  # type: ignore[arg-type]
            elif kind == "relu":
                values = values.relu()
            elif kind == "flatten":
                values = values.flatten(1)
            elif kind == "max":
                values = functional.max_pool2d(values, *sizes)
            elif kind == "mean":
                values = functional.avg_pool2d(values, *sizes)
            elif kind == "adaptive":
                values = functional.adaptive_avg_pool2d(values, sizes[0])
            else:
                need(kind == "norm", f"no layer is known as {kind}")
                statistics = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
                values = functional.batch_norm(values, *statistics, *both, eps=sizes[0])
        return values

    def _rises(self, outputs: Tensor) -> Tensor:
        """What every requirement says of outputs, (N, R)."""
        if "labels" in self.tensors:
            return outputs.gather(1, self.tensors["labels"][:, None]) - outputs
        return torch.einsum("nrc,nc->nr", self.tensors["weights"], outputs)

    def _required(self) -> str:
        batches = torch.split(self.tensors["points"], BATCH)  # the last bits depend on how many run together
        names = [layer[0] for layer in self.facts["layers"]]
        need(all(names) and len(set(names)) == len(names), "layers have no name, or one name")
        outputs = torch.cat([self._run(self.after, batch) for batch in batches]).double()
        least = self.tensors["least"]
        need(outputs.ndim == 2 and len(least) == len(outputs), "there is not a requirement for each point")
        if "labels" in self.tensors:
            need(self.tensors["labels"].shape == least.shape[:1] and least.shape == outputs.shape, "labels are amiss")
        missing = least - (rises := self._rises(outputs))
        need(missing.shape == rises.shape == least.shape, "there is not a number for each requirement")
        if "labels" in self.tensors:
            others = torch.ones_like(missing, dtype=torch.bool).scatter(1, self.tensors["labels"][:, None], False)
            need(bool((self.tensors["least"][others] >= self.facts["margin"]).all()), "less than the margin is asked")
        need(bool(torch.isfinite(outputs).all()), "outputs are not finite")
        need(bool((missing <= 0).all()), f"{int((missing > 0).any(1).sum())} points lack what is required")
        return f"{len(outputs)} points have it, by {-float(missing.max()):.3g} at least"

    def _polytopes(self) -> str:
        """The repaired network is affine on each polytope, so every point of it has what its vertices have."""
        owners, asked = self.tensors["owners"], self.tensors.get("labels", self.tensors.get("weights"))
        assert asked is not None
        need(owners.dtype == torch.int64 and owners.ndim == 1, "polytopes have no numbers")
        need(len(owners) == len(asked) == len(self.tensors["points"]), "not every point is of a polytope")
        groups = [torch.nonzero(owners == owner)[:, 0] for owner in sorted(set(owners.tolist()))]
        need(all(bool((asked[group] == asked[group[:1]]).all()) for group in groups), "its points are to differ")

        def watch(kind: str, sizes: list[Any], values: Tensor) -> None:
            if kind in ("relu", "max"):
                bent = sum(not _is_affine(kind, sizes, values[group]) for group in groups)
                need(not bent, f"a layer ({kind}) is not affine on {bent} polytopes")

        exact = {name: value.double() for name, value in self.after.items()}
        outputs = self._run(exact, self.tensors["points"].double(), watch=watch)
        missing = float((self.tensors["least"] - self._rises(outputs)).max())
        need(missing <= ROUNDING * max(1.0, float(outputs.abs().max())), f"in float64 vertices lack {missing:.3g}")
        return f"on each of {len(groups)} the network is affine, so what their {len(owners)} vertices have holds inside"

    def _change(self) -> str:
        changed, bound = self.facts["changed"], self.facts["bound"]
        moved = {name: self.after[name].double() - self.before[name].double() for name in self.before}
        need(self.after.keys() == self.before.keys(), "parameters came in or went")
        need(all(bool(torch.isfinite(move).all()) for move in moved.values()), "parameters are not finite")
        need(all(self.after[name].shape == old.shape for name, old in self.before.items()), "shapes are others")
        need(
            {name.rsplit(".", 1)[0] for name in moved} <= {layer[0] for layer in self.facts["layers"]}, "no such layer"
        )
        other = [name for name, move in moved.items() if move.any() and name.rsplit(".", 1)[0] not in changed]
        need(not other, f"{', '.join(other)} changed, too")
        largest = max(float(move.abs().max()) for move in moved.values())
        need(bound is None or largest <= bound, f"an entry changed by {largest:.9g}")
        return f"{', '.join(changed)} alone, no entry by more than {largest:.4g}"

    def _optimum(self) -> str:
        objective, low = self.facts["objective"], self.facts["lower_bound"]
        if objective is None:
            need(low is None, "a bound without an objective")
            return "nothing is claimed of the size of the change"
        (layer, kind), parts = self.facts["layers"][-1][:2], self.tensors
        need(layer == self.facts["changed"][-1] and kind == "linear", "the last layer is not the one that changed last")
        need(0 <= low <= objective * (1 + ROUNDING) < math.inf, f"{low:.8g} is no lower bound of {objective:.8g}")
        base = {name: value.double() for name, value in self.after.items()}
        base |= {name: value.double() for name, value in self.before.items() if name.rsplit(".", 1)[0] == layer}
        inputs = functional.pad(self._run(base, parts["points"].double(), layer), (0, 1), value=1.0)
        start = matrix_of(base, layer)
        change, factors = matrix_of(self.after, layer) - start, [parts["factor"].tril()] if "factor" in parts else []
        seen = size(change, factors, [])
        need(abs(seen - objective) <= ROUNDING * seen, f"the change has size {seen:.8g}")
        weights, spent, more = parts["multipliers"], parts["bounds"], self.facts["allowance"]
        need(weights.shape == parts["least"].shape and spent.shape == start.shape, "multipliers are not of the program")
        need(bool((weights >= 0).all()), "a multiplier is negative")
        weights = torch.where(torch.isfinite(parts["least"]), weights, 0.0).double()
        if "labels" in parts:
            weights = weights.scatter(1, parts["labels"][:, None], 0)
        largest = float(torch.cat([weights.flatten(), spent.abs().flatten()]).max()) or 1.0
        weights, spent = weights / largest, spent / largest  # any multiple proves the same
        moves = start.clone().requires_grad_()
        rises = self._rises(outputs := inputs @ moves.T)
        most = max(float(outputs.detach().abs().max()), self.facts["margin"])
        need(0 <= more <= MOST_MORE * most, f"it asks for {more:g} more than is required")
        said = (weights * rises).sum()
        (gradient,) = torch.autograd.grad(said, moves)
        least = torch.where(torch.isfinite(parts["least"]), parts["least"], 0.0) + more
        limit = float(spent.abs().sum())
        value = float((weights * least).sum() - said.detach()) - (limit * self.facts["bound"] if limit else 0.0)
        value -= NOISE * most * float(weights.sum())
        dual = size(gradient - spent, factors, [], dual=True)
        proved = value / dual if value > 0 and dual > 0 else 0.0
        need(proved >= low * (1 - ROUNDING), f"the multipliers prove {proved:.8g} alone")
        return f"size {objective:.6g}, none below {low:.6g}, for {more:.2g} more than is required"


def _is_affine(kind: str, sizes: list[Any], values: Tensor) -> bool:
    """Whether a ReLU has one sign of each number, or a max-pool one winner of each window, for all of some points."""
    if kind == "relu":
        return bool(((values >= 0).all(0) | (values <= 0).all(0)).all())
    kernel, stride, padding, dilation = sizes
    sides = [padding] * 4 if isinstance(padding, int) else [padding[1], padding[1], padding[0], padding[0]]
    maps = functional.pad(values, sides, value=float("-inf")).flatten(0, 1)[:, None]
    windows = functional.unfold(maps.nan_to_num(neginf=-1e300), kernel, dilation, 0, stride or kernel)
    windows = windows.view(*values.shape[:2], *windows.shape[1:])
    return bool((windows == windows.amax(2, keepdim=True)).all(0).any(1).all())
