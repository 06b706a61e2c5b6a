"""See edit sets, repairs and experiments in a web page on this machine."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
import contextlib
import socket
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from helpers.cli import new_app, say, tells_failures
from helpers.errors import ToolError
from visualizer.app import create_app, warm_up

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


class QuietHandler(WSGIRequestHandler):
    """Does not write a line for every picture."""

    def log_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing."""


def make_page_server(application: Flask, host: str, port: int) -> BaseWSGIServer:
    """A server that listens already; ``port`` 0 takes any that is free.

    Raises:
        ToolError: the port is taken, or the host is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ToolError(
            f"Cannot listen on {host} port {port} ({error.strerror or error}): choose another with --port, or --port 0."
        ) from error
    with listener:  # the server gets a copy of it
        return make_server(host, port, application, True, request_handler=QuietHandler, fd=listener.fileno())


if __name__ == "__main__":
    app()
