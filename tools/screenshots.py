"""Take the pictures of the web page that the README shows, from the files of the current folder.

uv run python -m tools.screenshots
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from helpers.cli import new_app, say, tells_failures
from helpers.errors import ToolError
from visualizer.app import create_app
from visualizer.content.files import EDIT_SETS, REPORTS, RESULTS
from visualizer.content.shelf import Shelf
from visualizer.server import make_page_server

CHROMIUM = Path("/usr/bin/chromium")
MOST_BYTES = 300_000
WIDTH = 1280
HEIGHTS = {"edit_set": 1150, "repair": 2100, "experiments": 1350}

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    *,
    output: Annotated[Path, typer.Option(help="The folder that the pictures go to.")] = Path("docs/screenshots"),
    chromium: Annotated[Path, typer.Option(help="The browser.")] = CHROMIUM,
) -> None:
    """Take a picture of an edit set, a repair and the experiments, wherever there are such files."""
    if not chromium.exists():
        raise ToolError(f"There is no browser {chromium}: install chromium, or name one with --chromium.")
    output.mkdir(parents=True, exist_ok=True)
    application = create_app(Path.cwd())
    server = make_page_server(application, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
            for name, address in shown_pages(application).items():
                print(take(browser, f"http://127.0.0.1:{server.port}{address}", output / f"{name}.png"))
            browser.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def shown_pages(application: Flask) -> dict[str, str]:
    """The addresses by the names of their pictures: the first edit set, the newest repair with outcomes, all tables."""
    shelf: Shelf = application.extensions["shelf"]
    reports = [(name, shelf.report(name)) for name in shelf.names(REPORTS)]
    kept = [(str(report["timestamp"]), name) for name, report in reports if report and report["outcomes_path"]]
    found = {}
    if edit_sets := shelf.names(EDIT_SETS):
        found["edit_set"] = f"/edit-sets/{min(edit_sets, key=lambda name: (name.count('/'), name))}"
    if kept:
        found["repair"] = f"/repairs/{max(kept)[1]}"
    if results := shelf.names(RESULTS):
        found["experiments"] = "/experiments?" + "&".join(f"file={name}" for name in results)
    for missing in {"edit_set", "repair", "experiments"} - found.keys():
        say(f"note: there is nothing to show as {missing}.png")
    return found


def take(browser: Browser, address: str, path: Path) -> Path:
    """Save a picture of the top of a page; raises `ToolError` where it is larger than a README should carry."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHTS[path.stem]}, color_scheme="light")
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    page.close()
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(128)
    few.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise ToolError(f"{path} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}.")
    return path


if __name__ == "__main__":
    app()
