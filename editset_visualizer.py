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

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    *,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show the files of this folder in a web page, until Ctrl-C."""
    from visualizer.app import create_app, warm_up
    from visualizer.server import make_page_server

    application = create_app(Path.cwd(), host)
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
