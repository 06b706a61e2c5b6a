"""Figures of one repair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visualizer.content.changes import Change
from visualizer.content.outcomes import Answers
from visualizer.content.repairs import ClassOutcome
from visualizer.drawing.charts import BLUE, VERMILION, Figure, figure, plain


def classes_figure(rows: list[ClassOutcome]) -> Figure:
    """Images broken and fixed, by class."""
    names = [plain(row.name) for row in rows]
    broken, fixed = [row.broken for row in rows], [row.fixed for row in rows]
    pattern = {"shape": "/", "fgcolor": "#ffffff", "fillmode": "overlay"}
    bars = [
        {"type": "bar", "name": "broken", "x": names, "y": broken, "marker": {"color": VERMILION, "pattern": pattern}},
        {"type": "bar", "name": "fixed by chance", "x": names, "y": fixed, "marker": {"color": BLUE}},
    ]
    made = figure(bars, "true class", "images")
    made["layout"]["xaxis"]["type"] = "category"
    return made


def margins_figure(test: Answers, masks: dict[str, NDArray[np.bool_]]) -> Figure:
    """Margin after against margin before, of the images that were broken or fixed."""
    series = []
    kinds = (("broken", "broken", VERMILION, "cross"), ("fixed", "fixed by chance", BLUE, "circle"))
    for key, name, color, symbol in kinds:
        chosen = np.flatnonzero(masks[key])[:2000]
        series.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": np.round(test.margin_before[chosen], 4).tolist(),
                "y": np.round(test.margin_after[chosen], 4).tolist(),
                "text": [f"test image {index}" for index in chosen.tolist()],
                "marker": {"color": color, "symbol": symbol, "size": 9},
            }
        )
    return figure(series, "margin before", "margin after")


def gains_figure(gained: NDArray[np.float64]) -> Figure:
    """How far the margins of the images outside the edit set moved."""
    counts, edges = np.histogram(gained, bins=60)
    middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    bars = {"type": "bar", "x": middles.tolist(), "y": counts.tolist(), "width": width, "marker": {"color": BLUE}}
    return figure([bars], "change of margin", "images", showlegend=False)


def change_figure(change: Change, class_names: tuple[str, ...]) -> Figure:
    """Mean size of the change, in blocks of neighbouring rows (outputs) and columns (inputs)."""
    rows = len(change.blocks)
    per_class = rows == len(class_names) == change.shape[0]
    y = [f"{label} {plain(name)}" for label, name in enumerate(class_names)] if per_class else _starts(change.shape[0])
    columns = _starts(int(np.prod(change.shape[1:])))
    colors = {"type": "heatmap", "colorscale": "Cividis", "colorbar": {"title": {"text": "mean |change|"}}}
    heat = {**colors, "z": change.blocks.tolist(), "y": y, "x": columns}
    made = figure([heat], "input feature (first of its block)", "class" if per_class else "output (first of its block)")
    made["layout"]["yaxis"] |= {"autorange": "reversed"} | ({"type": "category"} if per_class else {})
    return made


def _starts(count: int) -> list[int]:
    blocks = min(64, count)
    return [count * block // blocks for block in range(blocks)]
