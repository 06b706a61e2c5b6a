"""The pages of the experiments."""

from __future__ import annotations

import math
import time
from typing import Any

import pandas as pd
from flask import Blueprint, Response, jsonify, render_template, request, url_for

from experiments.table.values import joined
from helpers.errors import ToolError
from visualizer.content.experiments import Progress, SummaryError, progress_of
from visualizer.content.files import RESULTS, UnknownFileError
from visualizer.content.shelf import shelf
from visualizer.drawing.charts import experiment_figures
from visualizer.security import allow_plots
from visualizer.telling.commands import sweep
from visualizer.telling.story import report_name

pages = Blueprint("experiments", __name__)
LIVE_SECONDS = 120
LAST_ROWS = 5


@pages.get("/experiments")
def index() -> str:
    """The result tables there are, and the plots and rows of those chosen."""
    allow_plots()
    files = [file for name in shelf().names(RESULTS) if (file := _listed(name)) is not None]
    chosen = _chosen(files)
    table = _joined(chosen)
    links = [_link(row) for row in table["repaired_model_path"]] if len(table) else []
    return render_template(
        "experiments.html",
        files=files,
        chosen=chosen,
        sweep=sweep(),
        any_steps=bool(len(table) and (table["sequence"] == "step").any()),
        rows=[{**row, "link": link} for row, link in zip(table.to_dict("records"), links, strict=True)],
        figures=experiment_figures(_with_iterations(table), links) if len(table) else {},
        live=live_state(chosen) if chosen else None,
    )


@pages.get("/experiments/live.json")
def live() -> Response:
    """How far the chosen sweeps are, and their last rows."""
    return jsonify(live_state(request.args.getlist("file")))


def _listed(name: str) -> dict[str, Any] | None:
    """What the page says of a file; None where it is the project's own and no table of results."""
    try:
        results = shelf().results(name)
        age = shelf().seconds_since_change(name, time.time())
    except SummaryError:
        return None
    except ToolError as error:
        return {"name": name, "problem": shelf().tell(error)}
    return {"name": name, "problem": None, "rows": len(results.table), "unreadable": results.unreadable, "age": age}


def _chosen(files: list[dict[str, Any]]) -> list[str]:
    """The tables that the address names; without any, the one written last."""
    whole = [file for file in files if file["problem"] is None]
    asked = request.args.getlist("file")
    unknown = set(asked) - {file["name"] for file in files}
    if unknown:
        raise UnknownFileError(f"There is no result table {min(unknown)!r} here.")
    if asked:
        return [file["name"] for file in whole if file["name"] in asked]
    return [min(whole, key=lambda file: file["age"])["name"]] if whole else []


def _joined(names: list[str]) -> pd.DataFrame:
    return joined([shelf().results(name).table for name in names])


def _with_iterations(table: pd.DataFrame) -> pd.DataFrame:
    """``iterations``: the solver's, or the barrier's where there are no others; none where there was no program."""
    simplex, barrier = table["solver_iterations"], table["gurobi_barrier_iterations"]
    return table.assign(iterations=simplex.where(simplex > 0, barrier.where(barrier > 0)))


def _link(weights: str) -> str:
    """The page of a row's repair, whose report lies beside its weights; empty where there is none."""
    name = report_name(shelf().root, weights)
    return "" if name is None else url_for("repairs.show", name=name)


def live_state(names: list[str]) -> dict[str, Any]:
    """How far these sweeps are, as JSON can say it."""
    table = _joined(names)
    progress = progress_of(table) if len(table) else Progress(0, 0, 0, 0.0)
    plans = [shelf().planned(name) for name in names]
    age = min((shelf().seconds_since_change(name, time.time()) for name in names), default=math.inf)
    return {
        "running": bool(age < LIVE_SECONDS and not (all(plans) and progress.rows >= sum(plan or 0 for plan in plans))),
        "age": None if math.isinf(age) else round(age),
        "rows": progress.rows,
        "planned": sum(plan for plan in plans if plan) if all(plans) else None,
        "repaired": progress.repaired,
        "failed": progress.failed,
        "seconds": round(progress.seconds, 2),
        "last": [_told(row) for row in table.tail(LAST_ROWS)[::-1].to_dict("records")],
    }


def _told(row: dict[str, Any]) -> str:
    size = row["actual_repair_set_size"]
    images = "?" if math.isnan(size) else f"{size:g}"
    if row["repair_successful"]:
        return f"{row['experiment_id']}: {row['repair_set_type']}, {images} images, repaired"
    return (
        f"{row['experiment_id']}: {row['repair_set_type']}, {images} images, {row['error_message'] or 'not repaired'}"[
            :300
        ]
    )
