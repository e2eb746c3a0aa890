"""Whether the packages of the extra ``metrics`` are installed."""

from importlib.util import find_spec

from horsies.errors import ErrorCode, HorsiesError

INSTALL = "pip install 'prometheus-client>=0.22' 'h11>=0.16'"
"""Installs the packages of the extra ``metrics``. `horsies` on the package index is another project."""

_PACKAGES = ("prometheus_client", "h11")


def missing_packages(wanted_by: str) -> HorsiesError | None:
    """Return the error for a program without the packages of the extra ``metrics``; None: they are installed.

    Args:
        wanted_by: the option or command that needs them.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if not missing:
        return None
    return HorsiesError(
        ErrorCode.CLI_INVALID_ARGS,
        f"{wanted_by} needs packages that are not installed: {', '.join(missing)}",
        help_text=f"run: {INSTALL}",
    )
