"""A few edit images of a repair, for lists: all that is read of its outcomes are answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helpers.errors import ToolError
from helpers.files.writing import load_tensors


@dataclass(frozen=True)
class Glimpse:
    """One edit image: its position in the edit set's file, its class, and what it was taken for."""

    position: int
    true: str
    before: str
    after: str


def load_glimpse(path: Path) -> list[Glimpse]:
    """The edit images, the first of each class before the others; raises `ToolError` for a file of other things."""
    content = load_tensors(path, "outcomes")
    try:
        names, keys = content["class_names"], ("edit_labels", "edit_predicted_before", "edit_predicted_after")
        labels, before, after = (content[key].tolist() for key in keys)
        places = content["edit_positions"].tolist() if "edit_positions" in content else range(len(labels))
        rows = [
            Glimpse(place, *(str(names[label])[:80] for label in labels_of))
            for place, *labels_of in zip(places, labels, before, after, strict=True)
        ]
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ToolError(f"{path} does not hold the outcomes of a repair ({error}).") from error
    first = {row.true: row for row in reversed(rows)}.values()
    return [*list(first)[::-1], *(row for row in rows if row not in first)]
