"""``manage.py horsies``: the commands of horsies for the app of this project."""

import os
import sys
from collections.abc import Sequence

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.tasks import DEFAULT_TASK_BACKEND_ALIAS
from django.tasks.exceptions import InvalidTaskBackend
from typer.core import TyperGroup

from horsies.cli.main import COMMANDS, load_command
from horsies.contrib.django.backend import find_backend

_ENTRY = "horsies.contrib.django.entry"
_PROGRAM = "from horsies.cli.main import main; main()"


class Command(BaseCommand):
    """Replaces this process by ``horsies COMMAND``, with the app that a ``django.tasks`` back end names.

    A worker must start from a process that has imported nothing of the project, so the command is not run here.
    """

    help = "Run a command of horsies for this project: manage.py horsies worker --processes=4"

    def run_from_argv(self, argv: list[str]) -> None:
        """Pass all arguments on, except the options of Django that ``manage.py`` has already applied."""
        parser = CommandParser(prog=f"{argv[0]} horsies", add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        parser.add_argument("--backend", default=DEFAULT_TASK_BACKEND_ALIAS)
        options, arguments = parser.parse_known_args(argv[2:])
        try:
            self.handle(arguments=arguments, backend=options.backend)
        except CommandError as error:
            self.stderr.write(f"CommandError: {error}")
            sys.exit(error.returncode)

    def handle(self, *, arguments: Sequence[str], backend: str, **_options: object) -> None:
        """Replace this process.

        Args:
            arguments: The command of horsies and its options, without the app.
            backend: The key of the back end in ``TASKS``.
        """
        try:
            find_backend(backend)
        except InvalidTaskBackend as error:
            raise CommandError(str(error)) from error
        os.environ["HORSIES_DJANGO_BACKEND"] = backend
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        os.execv(sys.executable, [sys.executable, "-c", _PROGRAM, *with_app(arguments)])  # noqa: S606 - no shell


def with_app(arguments: Sequence[str]) -> list[str]:
    """Insert the app after the name of the command, which may consist of two words, as in ``db migrate``."""
    words = 0
    if arguments and arguments[0] in COMMANDS:
        words = 1
        command = load_command(arguments[0])
        if isinstance(command, TyperGroup) and len(arguments) > 1 and arguments[1] in command.commands:
            words = 2
    wants_app = words and not {"-h", "--help"} & set(arguments)
    return [*arguments[:words], *([f"{_ENTRY}:app"] if wants_app else []), *arguments[words:]]
