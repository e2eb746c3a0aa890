"""The web interface: pages about queues, tasks and workers, as an ASGI app. This package needs the extra ``web``."""

from horsies.web.access import ALL_RIGHTS, Auth, Denied, LoopbackAuth, Right, User
from horsies.web.basic_auth import BasicAuth
from horsies.web.header_auth import HeaderAuth
from horsies.web.passwords import hash_password
from horsies.web.site import horsies_web

__all__ = [
    "ALL_RIGHTS",
    "Auth",
    "BasicAuth",
    "Denied",
    "HeaderAuth",
    "LoopbackAuth",
    "Right",
    "User",
    "hash_password",
    "horsies_web",
]
