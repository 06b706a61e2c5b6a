"""Pictures: of edit images, of their copies, of the test images of a repair."""

from __future__ import annotations

import numpy as np
from flask import Blueprint, Response, abort, make_response

from editset_helpers.copies import copies
from visualizer.content.pictures import input_png, png
from visualizer.content.shelf import shelf
from visualizer.pages.repairs import outcomes_of, report_of
from visualizer.telling.words import COPIES

pages = Blueprint("pictures", __name__)


@pages.get("/pictures/edit-set/<path:name>/<int:position>.png")
def edit_set(name: str, position: int) -> Response:
    """One image of an edit set."""
    found, _, _ = shelf().edit_set(name)
    if position >= len(found):
        abort(404)
    return _response(input_png(found.preprocessing.unit(found.images[position])))


@pages.get("/pictures/copy/<path:name>/<int:position>/<int:number>.png")
def copy(name: str, position: int, number: int) -> Response:
    """One of the mirrored and shifted copies of an image, by its number in `COPIES`."""
    found, _, _ = shelf().edit_set(name)
    if position >= len(found) or number >= len(COPIES):
        abort(404)
    image = found.preprocessing.unit(found.images[position])
    return _response(input_png(list(copies(image[None], flip=True))[number][0]))


@pages.get("/pictures/test/<path:name>/<int:position>.png")
def test(name: str, position: int) -> Response:
    """One of the test images that a repair was measured on."""
    report = report_of(name)
    images = shelf().test_images(report, outcomes_of(name, report))
    if position >= len(images):
        abort(404)
    return _response(png(images[position]))


@pages.get("/pictures/training/<path:name>/<int:position>.png")
def training(name: str, position: int) -> Response:
    """One of the training images that are near a repair's edit images."""
    report = report_of(name)
    likely = outcomes_of(name, report).likely
    if likely is None or position not in likely.nearest:
        abort(404)
    images = shelf().training_images(report, likely).images
    if position >= len(images):
        abort(404)
    return _response(png(np.ascontiguousarray(images[position])))


def _response(content: bytes) -> Response:
    """A picture that the browser may keep: its address names the version of its file."""
    response = make_response(content)
    response.headers["Content-Type"] = "image/png"
    response.headers["Cache-Control"] = "private, max-age=86400"
    return response
