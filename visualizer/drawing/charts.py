"""Figures of a sweep for plotly.js, as the plain dictionaries that it reads; ``static/plots.js`` adds the theme."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.analysis.figures import COLOURS, baselines, by_images, is_wide, series_of

Figure = dict[str, Any]

# `analysis.py` draws the same series in the same colours, with the same markers.
BLUE, VERMILION = COLOURS[:2]
SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"]
DASHES = ["solid", "dash", "dashdot", "dot", "longdash", "longdashdot"]
SIZE = "images asked for"


def figure(data: list[Figure], x: str, y: str, **layout: Any) -> Figure:
    """A figure with titled axes."""
    return {"data": data, "layout": {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, **layout}}


def plain(text: Any) -> str:
    """Text from a file, so that plotly does not read its tags as markup."""
    return str(text)[:80].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def experiment_figures(table: pd.DataFrame, links: list[str]) -> dict[str, Figure]:
    """The figures of a sweep by their ids, as `analysis.py` orders them; a point of a single repair has its link."""
    rows = by_images(table.assign(link=links, series=series_of(table)))
    good = rows[rows["repair_successful"]]
    percent = good.assign(accuracy=100 * good["repaired_accuracy_test_set"], copies=100 * good["generalization_after"])
    return {
        "accuracy": _with_base(_means(percent, "accuracy", "all test images right (%)"), percent),
        "drawdown": _means(good, "drawdown_points", "drawdown (points)"),
        "copies": _means(percent, "copies", "copies right (%)", [0, 100]),
        "runtime": _points(rows, "repair_runtime_seconds", "seconds"),
        "iterations": _points(rows, "iterations", "iterations"),
        "success": _success(rows),
        "classes": _class_by_size(good),
        "sequence": _sequence(good),
    }


def _means(rows: pd.DataFrame, y: str, title: str, limits: list[float] | None = None) -> Figure:
    """Each repair as a point; the mean over classes and seeds as a line, whose bars are the range."""
    data: list[Figure] = []
    sizes = "requested_repair_set_size"
    rows = rows.dropna(subset=[sizes, y])
    for number, (kind, group) in enumerate(rows.groupby("series")):
        spread = group.groupby(sizes)[y].agg(["mean", "min", "max"])
        up, down = spread["max"] - spread["mean"], spread["mean"] - spread["min"]
        bars = {"type": "data", "symmetric": False, "array": up.tolist(), "arrayminus": down.tolist()}
        shape = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}
        line = {"type": "scatter", "mode": "lines", "x": spread.index.tolist(), "y": spread["mean"].tolist()}
        data.append({**line, "name": f"{plain(kind)} (mean)", "error_y": bars, "line": shape})
        data.append({**_markers(group, sizes, y), "name": plain(kind), "marker": _marker(number), "showlegend": False})
    made = figure(data, SIZE, title)
    if is_wide(rows[sizes]):
        made["layout"]["xaxis"]["type"] = "log"
    made["layout"]["yaxis"] |= {"range": limits} if limits else {}
    return made


def _marker(number: int) -> Figure:
    return {"color": COLOURS[number % len(COLOURS)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9}


def _with_base(made: Figure, rows: pd.DataFrame) -> Figure:
    """The same with a line where each network before stands."""
    sizes = rows["requested_repair_set_size"].dropna()
    if len(sizes):
        ends = [float(sizes.min()), float(sizes.max())]
        line = {"type": "scatter", "mode": "lines", "line": {"color": "#808080", "width": 1}}
        made["data"] += [{**line, "name": plain(name), "x": ends, "y": [y, y]} for name, y in baselines(rows).items()]
    return made


def _sequence(rows: pd.DataFrame) -> Figure:
    """Repairs upon repairs: images of all steps so far, which are to stay right, and all of that type."""
    rows = rows.dropna(subset=["repaired_accuracy_type"])
    kinds = (("edit_set", "images of all steps so far"), ("type", "all of that type"))
    both = [
        rows.assign(value=100 * rows[f"repaired_accuracy_{key}"], series=rows["series"] + f": {told}")
        for key, told in kinds
    ]
    return _means(pd.concat(both), "value", "right (%)", [0, 105])


def _points(rows: pd.DataFrame, y: str, title: str) -> Figure:
    data, x = [], "actual_repair_set_size"
    for number, (kind, group) in enumerate(rows.dropna(subset=[x, y]).groupby("series")):
        data.append({**_markers(group, x, y), "name": plain(kind), "marker": _marker(number)})
    return figure(data, "images repaired", title)


def _markers(group: pd.DataFrame, x: str, y: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": group[x].tolist(),
        "y": group[y].tolist(),
        "text": [_hover(row) for row in group.to_dict("records")],
        "customdata": group["link"].tolist(),
    }


def _hover(row: dict[str, Any]) -> str:
    keys = ("experiment_id", "repair_set_focus", "target_class", "actual_repair_set_size", "seed", "layer", "norm")
    told = [(key, row[key]) for key in keys if pd.notna(row[key]) and row[key] != ""]
    return "<br>".join(f"{key}: {plain(f'{value:g}' if isinstance(value, float) else value)}" for key, value in told)


def _success(rows: pd.DataFrame) -> Figure:
    rates = rows.dropna(subset=["requested_repair_set_size"]).groupby(["series", "requested_repair_set_size"])
    table = rates["repair_successful"].agg(["mean", "sum", "count"]).reset_index()
    data = []
    for number, (kind, group) in enumerate(table.groupby("series")):
        told = [f"{done} of {count}" for done, count in zip(group["sum"], group["count"], strict=True)]
        x, y = [f"{size:g}" for size in group["requested_repair_set_size"]], (100 * group["mean"]).tolist()
        marker = {"color": COLOURS[number % len(COLOURS)]}
        data.append({"type": "bar", "name": plain(kind), "x": x, "y": y, "text": told, "marker": marker})
    made = figure(data, SIZE, "repaired (%)")
    sizes = [f"{size:g}" for size in sorted(table["requested_repair_set_size"].unique())]
    made["layout"]["xaxis"].update(type="category", categoryorder="array", categoryarray=sizes)
    made["layout"]["yaxis"]["range"] = [0, 105]
    return made


def _class_by_size(rows: pd.DataFrame) -> Figure:
    """Mean drawdown of the repairs of one class, by size."""
    named = rows[rows["target_class"] != ""].dropna(subset=["requested_repair_set_size", "drawdown_points"])
    means = named.pivot_table(
        index=["series", "target_class"], columns="requested_repair_set_size", values="drawdown_points"
    )
    values = [[None if math.isnan(cell) else cell for cell in row] for row in means.to_numpy().tolist()]
    several = named["series"].nunique() > 1
    classes = [plain(f"{kind}: {name}" if several else name) for kind, name in means.index]
    axes = {"x": [f"{size:g}" for size in means.columns], "y": classes}
    heat = {"type": "heatmap", "z": values, **axes, "colorscale": "Cividis", "colorbar": {"title": {"text": "points"}}}
    made = figure([heat] if values else [], SIZE, "class")
    made["layout"]["xaxis"]["type"] = made["layout"]["yaxis"]["type"] = "category"
    made["layout"]["yaxis"]["autorange"] = "reversed"
    return made
