"""Serves the web interface over HTTP, for the command ``horsies web``."""

import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_LEAVE_WITHIN_S = 2


@dataclass(frozen=True, slots=True)
class Certificate:
    """A TLS certificate with its key, as files in PEM format."""

    certificate: Path
    key: Path


def serve(app: ASGIApp, listener: socket.socket, certificate: Certificate | None) -> None:
    """Serve an app on a listening socket until a stop signal comes.

    Headers of proxies do not change the address of the peer, because the access rules rely on that address.
    """
    config = uvicorn.Config(
        app,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=_LEAVE_WITHIN_S,
        ssl_certfile=None if certificate is None else certificate.certificate,
        ssl_keyfile=None if certificate is None else certificate.key,
    )
    uvicorn.Server(config).run(sockets=[listener])
