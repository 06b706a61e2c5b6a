"""Take the pictures of the web page that the README shows, from the files of the current folder.

uv run python -m tools.screenshots
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from helpers.cli import new_app, say, tells_failures
from helpers.errors import ToolError
from visualizer.app import create_app
from visualizer.content.files import EDIT_SETS
from visualizer.content.shelf import Shelf
from visualizer.server import make_page_server

CHROMIUM = Path("/usr/bin/chromium")
MOST_BYTES = 300_000
WIDTH = 1280
HEIGHTS = {"overview": 1000, "repair": 1500, "image": 800, "comparison": 1100, "edit_set": 1150, "experiments": 1350}
DARK = ("image",)  # one of them, so that both modes are seen

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    *,
    output: Annotated[Path, typer.Option(help="The folder that the pictures go to.")] = Path("docs/screenshots"),
    chromium: Annotated[Path, typer.Option(help="The browser.")] = CHROMIUM,
) -> None:
    """Take a picture of every kind of page, wherever there are files to show."""
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
    """The addresses by the names of their pictures: of the largest repair, the newest of such, and the largest set."""
    with application.app_context():
        shelf: Shelf = application.extensions["shelf"]
        kept = [(name, report) for name, report in shelf.repairs()[0] if report["outcomes_path"]]
        sets = {name: shelf.brief(name).images for name in shelf.names(EDIT_SETS)}
        results = [name for name, _ in shelf.all_results()]
    found = {"overview": "/"}
    if kept:
        name, report = max(kept, key=lambda entry: entry[1]["edit_set_size"])
        found |= {"repair": f"/repairs/{name}", "image": f"/repairs/{name}?edit_image=0"}
        alike = [other for other, told in kept if told["weights_hash_before"] == report["weights_hash_before"]]
        found["comparison"] = "/compare?" + "&".join(f"pick={other}" for other in (name, _costliest(kept, alike)))
    if sets:
        found["edit_set"] = f"/edit-sets/{max(sets, key=lambda name: sets[name])}"
    if results:
        found["experiments"] = "/experiments?" + "&".join(f"file={name}" for name in results[:1])
    for missing in HEIGHTS.keys() - found.keys():
        say(f"note: there is nothing to show as {missing}.png")
    return found


def _costliest(kept: list[tuple[str, dict[str, Any]]], names: list[str]) -> str:
    return max(names, key=lambda name: dict(kept)[name]["drawdown_points"] or 0.0)


def take(browser: Browser, address: str, path: Path) -> Path:
    """Save a picture of the top of a page; raises `ToolError` where it is larger than a README should carry."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHTS[path.stem]}, color_scheme="dark" if path.stem in DARK else "light"
    )
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
