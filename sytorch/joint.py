"""Constraints on the changes of several parts of a network at once, as of one.

The parts share margins and held inequalities, which every part moves; each has bounds of its own. What the parts do to
a constraint adds up, and so do their inner products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sytorch.arrays import Matrix
from sytorch.certificate import Multipliers
from sytorch.dual_operator import DualOperator
from sytorch.held_bounds import BoundRows
from sytorch.held_constraints import HeldConstraints, in_shapes


@dataclass(frozen=True, eq=False)
class JointConstraints:
    """The constraints of several parts. The order of rows is: those that all share, then the bounds of each part.

    Attributes:
        blocks: of each part, all with the same margins and slack.
    """

    blocks: tuple[HeldConstraints, ...]

    @property
    def shared(self) -> int:
        """The number of rows that are no bounds."""
        return len(self.blocks[0].required) - len(self.blocks[0].bounds.limits)

    @property
    def count(self) -> int:
        """How many rows are not void."""
        return self.blocks[0].count + sum(len(block.bounds.limits) for block in self.blocks[1:])

    @property
    def required(self) -> torch.Tensor:
        """(R,)."""
        return self.joined([block.required for block in self.blocks])

    @property
    def asked(self) -> torch.Tensor:
        """(R,), see `HeldConstraints.asked`."""
        return self.joined([block.asked for block in self.blocks])

    @property
    def tolerances(self) -> torch.Tensor:
        """(R,), see `HeldConstraints.tolerances`."""
        return self.joined([block.tolerances for block in self.blocks])

    def groups(self) -> list[torch.Size]:
        """The shapes of the groups that the rows consist of."""
        return [*self.blocks[0].groups(), *(block.bounds.limits.shape for block in self.blocks[1:])]

    def parts(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The groups of numbers by row, (R,), in their shapes."""
        return in_shapes(rows, self.groups())

    def pattern(self, multipliers: torch.Tensor) -> dict[str, Matrix]:
        """Multipliers, (R,), of held inequalities, (N, Q) by name of the module that is held.

        A ReLU has one for each number that it gets, of ``sign * number >= distance``, see `HeldConstraints.distance`.
        A max-pool has one for each member of each window, of ``winner - member >= 0``: by channel, by place in the
        window and by window, both row by row; those of winners and of members outside the map are zero.
        """
        _, *held, _ = self.blocks[0].parts(self.split(multipliers)[0])
        names = self.blocks[0].view.pattern.tail.names
        pairs = zip(self.blocks[0].slack, held, strict=True)
        return {names[position]: part.clone().numpy() for position, part in pairs}

    def distances(self, granted: torch.Tensor) -> dict[str, float]:
        """How far held inequalities are asked to stay from being violated, by name, less what is granted, (R,)."""
        first = self.blocks[0]
        _, *held, _ = first.parts(self.split(granted)[0])
        names = first.view.pattern.tail.names
        pairs = zip(first.slack, held, strict=True)
        return {names[position]: first.distance(position) - float(part.max()) for position, part in pairs}

    def multipliers(self, multipliers: torch.Tensor) -> Multipliers:
        """Those, (R,), of margins and bounds, the latter over all of each layer's weights.

        Copies of an input share a bound in `HeldConstraints`; here each copy has its share, so that the sums over
        weights are the same.
        """
        pieces = [(block, block.parts(part)) for block, part in zip(self.blocks, self.split(multipliers), strict=True)]
        bounds = [block.view.layer_change(block.bound_multipliers(parts[-1])) for block, parts in pieces]
        first, *further = (part.numpy() for part in bounds)
        return Multipliers(pieces[0][1][0].clone().numpy(), first, tuple(further))

    def missing(self, changes: list[torch.Tensor]) -> torch.Tensor:
        """By how much the parts' changes, (m, k) each, miss what they share, from the rows themselves."""
        moved = torch.zeros(self.shared, dtype=torch.float64)
        for block, change in zip(self.blocks, changes, strict=True):
            moved += torch.cat([lean.flatten() for lean in block.lean(block.view.move(change))])
        return self.required[: self.shared] - moved

    def split(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Numbers by row, (R,), as each part's constraints have them."""
        shared, *bounds = torch.split(rows, [self.shared, *(len(block.bounds.limits) for block in self.blocks)])
        return [torch.cat([shared, part]) for part in bounds]

    def joined(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Numbers of each part's constraints as one, (R,); what all share is taken from the first."""
        return torch.cat([parts[0][: self.shared], *(part[self.shared :] for part in parts)])

    def with_bounds(self, more: list[BoundRows]) -> JointConstraints:
        """The same and bounds on more entries of each part, behind those that the part has."""
        pairs = zip(self.blocks, more, strict=True)
        return JointConstraints(tuple(block.with_bounds(added) for block, added in pairs))

    def extended(self, multipliers: torch.Tensor, more: list[BoundRows]) -> torch.Tensor:
        """Multipliers, (R,), as those of `with_bounds`: zero for what is added."""
        pairs = zip(self.split(multipliers), more, strict=True)
        return self.joined([torch.cat([part, part.new_zeros(len(added.limits))]) for part, added in pairs])


class JointOperator:
    """Products with the inner products of all rows; see `DualOperator`.

    Args:
        operators: of each part.
    """

    def __init__(self, operators: tuple[DualOperator, ...]):
        self.operators = operators
        self.constraints = JointConstraints(tuple(operator.constraints for operator in operators))
        self.required = self.constraints.required

    def gram(self, chosen: torch.Tensor) -> torch.Tensor:
        """Inner products of chosen rows, (A,) ascending positions to (A, A)."""
        total, shared = torch.zeros(len(chosen), len(chosen), dtype=torch.float64), self.constraints.shared
        first = shared
        for operator in self.operators:
            bounds = len(operator.constraints.bounds.limits)
            own = (chosen < shared) | ((chosen >= first) & (chosen < first + bounds))
            here = torch.nonzero(own)[:, 0]
            local = torch.where(chosen[here] < shared, chosen[here], chosen[here] - first + shared)
            total[here[:, None], here] += operator.gram(local)
            first += bounds
        return total

    def scores(self, multipliers: torch.Tensor) -> torch.Tensor:
        """(R,) to (R,)."""
        pairs = zip(self.operators, self.constraints.split(multipliers), strict=True)
        found = [operator.scores(part) for operator, part in pairs]
        shared = self.constraints.shared
        moved = torch.stack([part[:shared] for part in found]).sum(dim=0)
        return torch.cat([moved, *(part[shared:] for part in found)])

    def changes(self, multipliers: torch.Tensor) -> list[torch.Tensor]:
        """The change, (m, k), of each part with these multipliers."""
        pairs = zip(self.operators, self.constraints.split(multipliers), strict=True)
        return [operator.change(part) for operator, part in pairs]

    def gradients(self, multipliers: torch.Tensor) -> list[torch.Tensor]:
        """The gradient in each part's change, (m, k), of all weighted constraints."""
        pairs = zip(self.operators, self.constraints.split(multipliers), strict=True)
        return [operator.constraints.gradient(part) for operator, part in pairs]
