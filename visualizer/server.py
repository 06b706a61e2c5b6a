"""The server of the pages: it listens before it answers, and does not log."""

from __future__ import annotations

import socket
from typing import Any

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from helpers.errors import ToolError


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
