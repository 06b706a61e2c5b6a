"""Figures of a sweep for plotly.js, as the plain dictionaries that it reads; ``static/plots.js`` adds the theme."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.analysis.figures import by_images, series_of

Figure = dict[str, Any]

# Okabe and Ito's colours, which people with any colour vision tell apart; each series has a symbol of its own besides.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
SERIES = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY]
SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]


def figure(data: list[Figure], x: str, y: str, **layout: Any) -> Figure:
    """A figure with titled axes."""
    return {"data": data, "layout": {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, **layout}}


def plain(text: Any) -> str:
    """Text from a file, so that plotly does not read its tags as markup."""
    return str(text)[:80].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def experiment_figures(table: pd.DataFrame, links: list[str]) -> dict[str, Figure]:
    """The figures of a sweep by their ids; a point of a single repair carries its link."""
    rows = by_images(table.assign(link=links, series=series_of(table)))
    good = rows[rows["repair_successful"]]
    accuracy, size = "repaired test accuracy (%)", "requested edit images"
    percent = good.assign(accuracy=100 * good["repaired_accuracy_test_set"])
    return {
        "accuracy": _over_seeds(percent, "requested_repair_set_size", "accuracy", size, accuracy),
        "drawdown": _over_seeds(good, "requested_repair_set_size", "drawdown_points", size, "drawdown (points)"),
        "runtime": _points(rows, "actual_repair_set_size", "repair_runtime_seconds", "edit images", "seconds"),
        "iterations": _points(rows, "actual_repair_set_size", "iterations", "edit images", "solver iterations"),
        "success": _success(rows),
        "classes": _class_by_size(good),
    }


def _over_seeds(rows: pd.DataFrame, x: str, y: str, x_title: str, y_title: str) -> Figure:
    """Each repair as a point; the mean over seeds as a line, with the standard deviation as its bar."""
    data: list[Figure] = []
    for number, (kind, group) in enumerate(rows.dropna(subset=[x, y]).groupby("series")):
        spread = group.groupby(x)[y].agg(["mean", "std"]).fillna(0.0)
        look = {"color": SERIES[number % 6], "symbol": SYMBOLS[number % 6]}
        bars = {"type": "data", "array": spread["std"].tolist(), "visible": True}
        line = {"type": "scatter", "mode": "lines", "x": spread.index.tolist(), "y": spread["mean"].tolist()}
        shape = {"color": look["color"], "dash": DASHES[number % 6]}
        data.append({**line, "name": f"{plain(kind)} (mean)", "error_y": bars, "line": shape})
        data.append({**_markers(group, x, y), "name": plain(kind), "marker": {**look, "size": 9}})
    return figure(data, x_title, y_title)


def _points(rows: pd.DataFrame, x: str, y: str, x_title: str, y_title: str) -> Figure:
    data = []
    for number, (kind, group) in enumerate(rows.dropna(subset=[x, y]).groupby("series")):
        marker = {"color": SERIES[number % 6], "symbol": SYMBOLS[number % 6], "size": 9}
        data.append({**_markers(group, x, y), "name": plain(kind), "marker": marker})
    return figure(data, x_title, y_title)


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
        marker = {"color": SERIES[number % 6]}
        data.append({"type": "bar", "name": plain(kind), "x": x, "y": y, "text": told, "marker": marker})
    made = figure(data, "requested edit images", "repaired (%)")
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
    made = figure([heat] if values else [], "requested edit images", "class")
    made["layout"]["xaxis"]["type"] = made["layout"]["yaxis"]["type"] = "category"
    return made
