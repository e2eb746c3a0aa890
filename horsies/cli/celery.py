"""Translation of Celery command lines into those of horsies."""

import shlex
from collections.abc import Callable, Sequence

_APP = ("-A", "--app")
_COMMANDS = {"worker": "worker", "beat": "scheduler", "inspect": "workers", "status": "workers", "events": "workers"}
_OPTIONS: dict[str, Callable[[str], str]] = {
    "-c": "--processes={}".format,
    "--concurrency": "--processes={}".format,
    "-Q": "--queues={}".format,
    "--queues": "--queues={}".format,
    "-l": lambda level: f"--loglevel={level.upper()}",
    "--loglevel": lambda level: f"--loglevel={level.upper()}",
    "--max-tasks-per-child": "--max-tasks-per-child={}".format,
}
_FLAGS = {"-B": "--scheduler", "--beat": "--scheduler"}


def translate_celery(args: Sequence[str]) -> str | None:
    """Translate the arguments of a Celery command, such as ``-A shop worker -l info``.

    Returns:
        The equivalent command of horsies, ``horsies worker`` if none is named, or None if the arguments do not name an
        app in the way of Celery.
    """
    app, command, options = "", "", list[str]()
    rest = [part for arg in args for part in _split(arg)]
    while rest:
        word = rest.pop(0)
        if word in _APP:
            app = rest.pop(0) if rest else "MODULE"
        elif word in _OPTIONS:
            options += [_OPTIONS[word](rest.pop(0))] if rest else []
        elif word in _FLAGS:
            options.append(_FLAGS[word])
        elif not word.startswith("-") and not command:
            command = word
    if not app or command not in {"", *_COMMANDS}:
        return None
    command = _COMMANDS.get(command, "worker")
    locator = app if ":" in app else f"{app}:app"
    return shlex.join(["horsies", command, locator, *(options if command == "worker" else [])])


def _split(arg: str) -> list[str]:
    """Split an argument that contains an option and its value, such as ``--app=shop`` or ``-Ashop``."""
    name, equals, value = arg.partition("=")
    if equals and name.startswith("--"):
        return [name, value]
    if arg[:2] in {"-A", "-c", "-Q", "-l"} and len(arg) > 2:  # noqa: PLR2004 - a letter and its value
        return [arg[:2], arg[2:]]
    return [arg]
