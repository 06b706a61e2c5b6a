"""The web application. It reads the files of one project folder, and changes nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from flask import Flask, Response, render_template, send_file
from werkzeug.exceptions import HTTPException

from helpers.errors import ToolError
from visualizer.content.files import UnknownFileError
from visualizer.content.pictures import input_png
from visualizer.content.shelf import Shelf, shelf
from visualizer.formatting import FILTERS, encodable
from visualizer.pages import comparison as comparison_pages
from visualizer.pages import edit_sets as edit_set_pages
from visualizer.pages import experiments as experiment_pages
from visualizer.pages import home as home_pages
from visualizer.pages import pictures as picture_pages
from visualizer.pages import repairs as repair_pages
from visualizer.security import protect

HERE = Path(__file__).parent.parent


def create_app(root: Path, host: str = "127.0.0.1") -> Flask:
    """The application for the files of a project folder.

    Args:
        root: the folder that the other scripts were run in.
        host: where it is served; requests under other names are refused where that is this machine only.
    """
    app = Flask("visualizer", template_folder=str(HERE / "templates"), static_folder=str(HERE / "static"))
    app.extensions["shelf"] = Shelf(root.resolve())
    app.jinja_env.filters.update(FILTERS)
    app.jinja_env.finalize = encodable
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    protect(app, host)
    for module in (home_pages, edit_set_pages, repair_pages, comparison_pages, experiment_pages, picture_pages):
        app.register_blueprint(module.pages)
    app.add_url_rule("/plotly.min.js", "plotly", plotly)
    app.register_error_handler(ToolError, tell_failure)
    app.register_error_handler(HTTPException, tell_http)
    return app


def warm_up(app: Flask) -> None:
    """Do before the first page what is done once: compile the templates, load the picture encoder."""
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)
    input_png(torch.zeros(3, 1, 1))


def plotly() -> Response:
    """plotly.js as the installed package brings it: no network is needed."""
    package = importlib.util.find_spec("plotly")
    if package is None or package.origin is None:
        raise ToolError("The package plotly is not installed: run uv sync.")
    script = Path(package.origin).parent / "package_data/plotly.min.js"
    return send_file(script, mimetype="text/javascript", max_age=3600)


def tell_failure(error: ToolError) -> tuple[str, int]:
    """A file that is unknown, damaged or gone."""
    if isinstance(error, UnknownFileError):
        return _error_page("There is no such page", str(error), 404)
    return _error_page("This file cannot be shown", shelf().tell(error), 422)


def tell_http(error: HTTPException) -> tuple[str, int]:
    """An address that leads nowhere, or a fault of this program."""
    told = {404: ("There is no such page", "The address leads nowhere.")}
    title, message = told.get(error.code or 500, (error.name, error.description or ""))
    return _error_page(title, message, error.code or 500)


def _error_page(title: str, message: str, status: int) -> tuple[str, int]:
    return render_template("error.html", title=title, message=message), status
