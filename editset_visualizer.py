"""See edit sets, repairs and experiments in a web page on this machine."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
import contextlib
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from helpers.cli import new_app, say, tells_failures
from helpers.errors import UsageError

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    what: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With --export: a report or a table. [default: last repair]")
    ] = None,
    *,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write one page as files to send, and serve nothing.")
    ] = None,
) -> None:
    """Show the files of this folder in a web page, until Ctrl-C; or write the page of a repair or a sweep as files."""
    from visualizer.app import create_app, warm_up
    from visualizer.export import export as write_export
    from visualizer.server import make_page_server

    application = create_app(Path.cwd(), host)
    if export is not None:
        print(write_export(application, what, export))
        return
    if what is not None:
        raise UsageError("FILE is for --export FOLDER alone; without it, all files of this folder are shown.")
    warm_up(application)
    server = make_page_server(application, host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{server.port}/"
    print(address, flush=True)
    say("Ctrl-C stops it.")
    if open_browser:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(server.socket):
        server.serve_forever()


if __name__ == "__main__":
    app()
