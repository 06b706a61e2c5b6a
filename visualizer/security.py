"""Who may ask, and what a browser may do with the answers."""

from __future__ import annotations

import ipaddress

from flask import Flask, Response, abort, g, request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protect(app: Flask, host: str) -> None:
    """Send the headers with every answer, and refuse foreign names where only this machine is served.

    A page elsewhere can point its own name at 127.0.0.1 and read the answers (DNS rebinding); the ``Host`` header then
    is that name.
    """
    if is_loopback(host):

        @app.before_request
        def refuse_foreign_names() -> None:
            if not is_loopback(_host_name(request.host)):
                abort(421)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        inline = " 'unsafe-inline'" if g.get("has_plots") else ""
        response.headers["Content-Security-Policy"] = POLICY.replace("style-src 'self'", f"style-src 'self'{inline}")
        response.headers.setdefault("Cache-Control", "no-cache")
        return response


def allow_plots() -> None:
    """Let the answer's styles be set by plotly.js, which writes them into the page; scripts stay as they are."""
    g.has_plots = True


def _host_name(host: str) -> str:
    """``127.0.0.1:8000`` -> ``127.0.0.1``; ``[::1]:8000`` -> ``::1``."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
