import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.app import Horsies
from horsies.cli.locate import locate
from horsies.errors import ErrorCode, HorsiesError
from tests.support.problems import only_problem

APP = "from horsies.app import Horsies\nfrom horsies.config.app import AppConfig\n\napp = Horsies(AppConfig())\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to an empty working directory; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(path: str, source: str = APP) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return file.absolute()


def refused(locator: str) -> HorsiesError:
    return only_problem(lambda: locate(locator))


class TestModules:
    """`pkg.mod:app` and `pkg.mod`."""

    def test_an_app_by_name(self) -> None:
        write("instance.py", f"{APP}other = Horsies(AppConfig())\n")
        app = locate("instance:app")
        assert isinstance(app, Horsies)
        assert app is sys.modules["instance"].app
        assert locate("instance:other") is not app

    def test_in_a_package(self) -> None:
        write("shop/__init__.py", "")
        write("shop/jobs/__init__.py", "")
        write("shop/jobs/instance.py")
        assert locate("shop.jobs.instance:app") is sys.modules["shop.jobs.instance"].app

    def test_in_a_folder_without_init(self) -> None:
        write("shop/instance.py")
        assert locate("shop.instance:app") is sys.modules["shop.instance"].app

    def test_the_package_itself(self) -> None:
        write("shop/__init__.py")
        assert locate("shop:app") is sys.modules["shop"].app

    def test_the_only_app_need_not_be_named(self) -> None:
        write("instance.py")
        assert locate("instance") is sys.modules["instance"].app

    def test_an_app_with_two_names_is_one_app(self) -> None:
        write("instance.py", f"{APP}celery = app\n")
        assert locate("instance") is sys.modules["instance"].app

    def test_the_working_directory_goes_first(self) -> None:
        write("elsewhere/instance.py", "app = None\n")
        sys.path.insert(0, str(Path("elsewhere").absolute()))
        write("instance.py")
        assert isinstance(locate("instance:app"), Horsies)
        assert sys.path[0] == str(Path.cwd())

    def test_modules_in_the_same_folder_can_be_imported(self) -> None:
        write("settings.py", "NAME = 'mine'\n")
        write("instance.py", f"import settings\n{APP}")
        locate("instance:app")
        assert sys.modules["settings"].NAME == "mine"


class TestFiles:
    """`path/file.py:app`."""

    @pytest.mark.parametrize("locator", ["shop/instance.py:app", "./shop/instance.py:app", "shop/instance.py"])
    def test_a_file_is_the_module_that_others_import(self, locator: str) -> None:
        write("shop/instance.py")
        write("shop/tasks.py", "import instance\n")
        app = locate(locator)
        assert app is sys.modules["instance"].app
        __import__("tasks")
        assert sys.modules["tasks"].instance.app is app

    def test_an_absolute_path(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("elsewhere")
        write(f"{folder}/instance.py", f"import helper\n{APP}")
        write(f"{folder}/helper.py", "")
        assert locate(f"{folder}/instance.py:app") is sys.modules["instance"].app

    def test_in_the_working_directory(self) -> None:
        write("instance.py")
        assert locate("instance.py:app") is sys.modules["instance"].app

    def test_takes_precedence_over_a_module_of_that_name(self) -> None:
        write("instance.py", "app = None\n")
        write("shop/instance.py")
        assert isinstance(locate("shop/instance.py:app"), Horsies)

    def test_in_a_package_is_imported_as_its_part(self) -> None:
        write("src/shop/__init__.py", "")
        write("src/shop/settings.py", "")
        write("src/shop/instance.py", f"from . import settings\n{APP}")
        assert locate("src/shop/instance.py:app") is sys.modules["shop.instance"].app

    def test_whose_name_is_taken_is_refused(self) -> None:
        write("shop/json.py")
        problem = refused("shop/json.py:app")
        assert problem.code == ErrorCode.WORKER_INVALID_LOCATOR
        assert "the name 'json' belongs to" in problem.message
        assert problem.help_text == "rename the file"


class TestWrongSpelling:
    """Locators that name nothing, and the suggested corrections."""

    @pytest.mark.parametrize(
        ("locator", "message", "help_text"),
        [
            ("", "'' does not name an app", "write MODULE:APP, as in instance:app"),
            (":app", "':app' does not name an app", "write MODULE:APP, as in instance:app"),
            ("instance:", "'instance:' does not name an app", "write MODULE:APP, as in instance:app"),
            ("my-app:app", "'my-app' is not the name of a module", "write pkg.mod:app or path/file.py:app"),
            ("shop..jobs:app", "'shop..jobs' is not the name of a module", "write pkg.mod:app or path/file.py:app"),
            (
                "shop.jobs.py:app",
                "there is no file 'shop.jobs.py'; a module is named without '.py'",
                "write shop.jobs:app",
            ),
            ("shop.jobs.py", "there is no file 'shop.jobs.py'; a module is named without '.py'", "write shop.jobs"),
            ("shop/jobs:app", "there is no file 'shop/jobs'", "write shop/jobs.py:app or shop.jobs:app"),
            ("shop/job.py:app", "there is no file 'shop/job.py'", "did you mean shop/jobs.py:app?"),
            ("nowhere/job.py:app", "there is no file 'nowhere/job.py'", None),
            ("instanec:app", "there is no module 'instanec'", "did you mean instance?"),
            ("shop.job:app", "there is no module 'shop.job'", "did you mean shop.jobs?"),
            ("zzz:app", "there is no module 'zzz'", None),
            ("instance.app", "there is no module 'instance.app'", "did you mean instance:app?"),
            ("instance:ap", "module 'instance' has no 'ap'", "did you mean instance:app?"),
            ("instance:worker", "module 'instance' has no 'worker'", "did you mean instance:app?"),
            ("instance:AppConfig", "'AppConfig' in module 'instance' is a ", "did you mean instance:app?"),
            ("empty:application", "module 'empty' has no 'application'", None),
            ("empty:confi", "module 'empty' has no 'confi'", "did you mean empty:config?"),
        ],
    )
    def test_is_refused_with_the_right_one(self, locator: str, message: str, help_text: str | None) -> None:
        write("instance.py")
        write("shop/jobs.py")
        write("empty.py", "config = 3\n")
        problem = refused(locator)
        assert problem.code == ErrorCode.WORKER_INVALID_LOCATOR
        assert problem.message.startswith(message)
        assert problem.help_text == help_text

    def test_the_working_directory_is_named(self) -> None:
        assert refused("nothing:app").notes == (f"the working directory is {Path.cwd()}",)

    def test_several_apps_are_listed(self) -> None:
        write("instance.py", f"{APP}other = Horsies(AppConfig())\n")
        problem = refused("instance")
        assert problem.code == ErrorCode.CLI_INVALID_ARGS
        assert problem.message == "module 'instance' has 2 Horsies apps"
        assert problem.help_text == "name one of them: instance:app, instance:other"

    def test_a_module_without_an_app_is_refused(self) -> None:
        write("instance.py", "")
        problem = refused("instance")
        assert problem.code == ErrorCode.CLI_INVALID_ARGS
        assert problem.message == "module 'instance' has no Horsies apps"


class TestImportFails:
    """A module that raises when it is imported."""

    @pytest.mark.parametrize(
        ("source", "line", "note"),
        [
            ("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
            ("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3"),
            ("a = 1\nb = = 2\n", 2, "SyntaxError"),
            ("\nimport requests_is_not_installed\n", 2, "No module named 'requests_is_not_installed'"),
            ("def f():\n    raise KeyError('x')\n\nf()\n", 2, "KeyError: 'x'"),
            ("from instance import nothing\n", 1, "ImportError: cannot import name 'nothing'"),
        ],
    )
    def test_is_shown_at_the_users_line(self, source: str, line: int, note: str) -> None:
        file = write("instance.py", source)
        with pytest.raises(HorsiesError) as raised:
            locate("instance:app")
        assert raised.value.code == ErrorCode.MODULE_EXEC_ERROR
        assert raised.value.location is not None
        assert (raised.value.location.file, raised.value.location.line) == (str(file), line)
        assert any(note in text for text in raised.value.notes)

    def test_the_innermost_line_counts(self) -> None:
        helper = write("helper.py", "def load():\n    return 1 / 0\n")
        write("instance.py", "import helper\n\nhelper.load()\n")
        with pytest.raises(HorsiesError) as raised:
            locate("instance:app")
        assert raised.value.location is not None
        assert (raised.value.location.file, raised.value.location.line) == (str(helper), 2)

    def test_a_missing_import_of_a_module_is_not_a_missing_module(self) -> None:
        file = write("instance.py", "import shop.nothing\n")
        write("shop/__init__.py", "")
        with pytest.raises(HorsiesError) as raised:
            locate("instance:app")
        assert raised.value.code == ErrorCode.MODULE_EXEC_ERROR
        assert raised.value.location is not None
        assert raised.value.location.file == str(file)

    def test_an_error_of_horsies_is_passed_on(self) -> None:
        file = write("instance.py", APP.replace("AppConfig()", "AppConfig(cluster_wide_cap=0)"))
        problem = refused("instance:app")
        assert problem.code == ErrorCode.CONFIG_INVALID_CLUSTER_CAP
        assert problem.location is not None
        assert (problem.location.file, problem.location.line) == (str(file), 4)

    def test_ctrl_c_is_not_an_error_of_the_module(self) -> None:
        write("instance.py", "raise KeyboardInterrupt\n")
        with pytest.raises(KeyboardInterrupt):
            locate("instance:app")


def test_a_fresh_process_needs_no_pythonpath() -> None:
    write("shop/instance.py", f"import sys\n{APP}")
    script = (
        "import json, sys; from horsies.cli.locate import locate; app = locate(sys.argv[1]); import instance; "
        "print(json.dumps([app is instance.app, sys.path[:2]]))"
    )
    root = str(Path(sys.modules["horsies"].__path__[0]).parent)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.append({root!r}); {script}", "shop/instance.py:app"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout) == [True, [str(Path("shop").absolute()), str(Path.cwd())]]
