"""Hiding passwords in text that is printed or logged."""

import re

_MASK = "***"
# Greedy up to the last "@": a password that should have been percent-encoded may hold any of "/?#@" itself.
_IN_USER_PART = re.compile(r"(://[^\s:/@\"']*:)[^\s\"']*(?=@)")
_AS_PARAMETER = re.compile(r"(?i)(\b(?:ssl)?password=)[^\s&\"']*")


def mask_secrets(text: str) -> str:
    """Replace the password of every URL in a text, in its user part or as a query parameter, by ``***``."""
    return _AS_PARAMETER.sub(rf"\1{_MASK}", _IN_USER_PART.sub(rf"\1{_MASK}", text))
