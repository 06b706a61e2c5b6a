"""A page as static files that open without a server: itself, the pages of its images and repairs, all pictures."""

from __future__ import annotations

import contextlib
import html
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from jinja2.utils import htmlsafe_json_dumps

from helpers.errors import ToolError, UsageError
from helpers.files.places import explained_os_errors
from visualizer.content.files import REPORTS, RESULTS, name_of
from visualizer.content.shelf import Shelf

LINK = re.compile(r' (href|src)="([^"]*)"')
FIGURES = re.compile(r'(<script type="application/json" id="figures">)(.*?)(</script>)', re.DOTALL)
LIVE = re.compile(r'<script defer src="[^"]*live\.js"></script>')
LINKED = re.compile(r"/repairs/[^?]+(\?(edit|test)_image=\d+)?")  # what a page links to and is written, too


@dataclass
class Written:
    """The files of an export by the address that each shows."""

    client: FlaskClient
    folder: Path
    names: dict[str, str] = field(default_factory=dict)


def export(app: Flask, what: Path | None, folder: Path) -> Path:
    """Write the page of a repair or a sweep, and return its ``index.html``.

    Args:
        app: the application.
        what: a repair's report, a result table, or None for the repair that was written last.
        folder: where to; it must not be there, or be empty.

    Raises:
        UsageError: there is no such repair or table, or the folder has something in it.
        ToolError: the page cannot be made, or the folder not be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and not an empty folder; name another.")
    app.config["EXPORTING"] = True
    address = address_of(app.extensions["shelf"], what)
    with explained_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            whole = Path(beside) / "whole"
            whole.mkdir()
            _write_pages(Written(app.test_client(), whole), address)
            if folder.exists():
                folder.rmdir()
            whole.replace(folder)
    return folder / "index.html"


def address_of(shelf: Shelf, what: Path | None) -> str:
    """The address of a file's page; raises `UsageError` where it has none."""
    if what is None:
        names = [name for name in shelf.latest_reports() if shelf.report(name)]
        if not names:
            raise UsageError("There is no repair to export yet; make one with run_repair.py.")
        return f"/repairs/{quote(names[0])}"
    for kind, start in ((REPORTS, "/repairs/"), (RESULTS, "/experiments?file=")):
        if name := name_of(shelf.root, kind, str(what)):
            return start + quote(name)
    raise UsageError(f"{what} is neither a repair's report, *.json, nor a table of a sweep, *.csv, of this folder.")


def _write_pages(written: Written, address: str) -> None:
    """The page, then the pages that it links to; links from these to others become plain text."""
    first = _get(written, address).decode()
    written.names[_without_place(address)] = "index.html"
    linked = dict.fromkeys(_without_place(html.unescape(link)) for _, link in LINK.findall(first))
    pages = [link for link in linked if LINKED.fullmatch(link) and link not in written.names]
    for number, link in enumerate(pages, 1):
        written.names[link] = f"page_{number}.html"
    _write(written, "index.html", first)
    for link in pages:
        _write(written, written.names[link], _get(written, link).decode())


def _write(written: Written, name: str, text: str) -> None:
    text = LINK.sub(lambda found: _relinked(written, found[1], html.unescape(found[2])), LIVE.sub("", text))
    text = FIGURES.sub(lambda found: found[1] + _figures(written, found[2]) + found[3], text)
    (written.folder / name).write_text(text, encoding="utf-8")


def _relinked(written: Written, attribute: str, link: str) -> str:
    """The attribute with the name of a file, which is written where it is none yet; nothing for what is left out."""
    address, _, place = link.partition("#")
    if not address:
        return f' {attribute}="#{html.escape(place)}"'
    if address not in written.names:
        if attribute == "href" and not re.search(r"\.(css|svg)(\?|$)", address):
            return ""
        _keep(written, address)
    return f' {attribute}="{written.names[address]}{"#" if place else ""}{html.escape(place)}"'


def _keep(written: Written, address: str) -> None:
    """Write a picture, a script or a style."""
    name = Path(urlsplit(address).path)
    kept = name.name if "/pictures/" not in address else f"picture_{len(written.names)}{name.suffix}"
    (written.folder / kept).write_bytes(_get(written, address))
    written.names[address] = kept


def _figures(written: Written, text: str) -> str:
    """The figures, whose points lead to files."""
    figures = json.loads(text)
    for trace in (trace for figure in figures.values() for trace in figure["data"]):
        if "customdata" in trace:
            trace["customdata"] = [written.names.get(link, "") for link in trace["customdata"]]
    return str(htmlsafe_json_dumps(figures))


def _get(written: Written, address: str) -> bytes:
    with contextlib.closing(written.client.get(address)) as answer:
        if answer.status_code != 200:
            raise ToolError(f"{address} cannot be written: {answer.status}.")
        return bytes(answer.data)


def _without_place(link: str) -> str:
    return link.partition("#")[0]
