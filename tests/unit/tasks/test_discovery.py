"""Discovery of tasks: finding modules by pattern, and importing exactly the named ones."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from horsies import AppConfig, ConfigurationError, ErrorCode, Horsies
from horsies.tasks.discovery import expand_globs, import_file, import_tasks

ROOT = Path(__file__).parents[3]
FILES = [
    "stall/__init__.py",
    "stall/tasks.py",
    "stall/mail/__init__.py",
    "stall/mail/tasks.py",
    "stall/plain/tasks.py",
    "stall/plain/deep/tasks.py",
    "chores/clean.py",
    "chores/night/sweep.py",
]
INSTANCE = """
    import sys
    from horsies import AppConfig, Horsies, TaskError, TaskResult

    app = Horsies(AppConfig())

    @app.task("add")
    def add(a: int) -> TaskResult[int, TaskError]:
        return TaskResult(ok=a)

    app.discover_tasks([{itself!r}])
    if __name__ == "__main__":
        print(app.check(), app.list_tasks(), {{id(sys.modules[name]) for name in {names!r}}} == {{id(sys.modules["__main__"])}})
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a folder of packages and scripts, which is importable."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def app() -> Horsies:
    return Horsies(AppConfig())


class TestPatterns:
    """The modules that `expand_module_globs` finds."""

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("stall.tasks", ["stall.tasks"]),
            ("stall.*.tasks", ["stall.mail.tasks", "stall.plain.tasks"]),
            ("stall.*", ["stall.mail", "stall.tasks"]),
            ("stall", ["stall"]),
            (
                "stall.**.tasks",
                ["stall.mail.tasks", "stall.plain.deep.tasks", "stall.plain.tasks", "stall.tasks"],
            ),
            ("nothing.*", []),
            ("", []),
            ("chores/*.py", ["chores/clean.py"]),
            ("chores/**/*.py", ["chores/clean.py", "chores/night/sweep.py"]),
            ("nothing/*.py", []),
        ],
    )
    @pytest.mark.usefixtures("project")
    def test_one(self, app: Horsies, pattern: str, expected: list[str]) -> None:
        assert app.expand_module_globs([pattern]) == expected

    @pytest.mark.parametrize(
        ("patterns", "exclude", "expected"),
        [
            (["stall.**.tasks"], ["stall.plain.**.tasks"], ["stall.mail.tasks", "stall.tasks"]),
            (
                ["stall.**.tasks"],
                [],
                ["stall.mail.tasks", "stall.plain.deep.tasks", "stall.plain.tasks", "stall.tasks"],
            ),
            (["chores/**/*.py"], ["chores/night/*.py"], ["chores/clean.py"]),
            (["chores/**/*.py"], ["./chores/../chores/night/*.py"], ["chores/clean.py"]),
            (["stall.*.tasks"], ["stall/mail/*.py"], ["stall.plain.tasks"]),
            (["stall/*/tasks.py"], ["stall.mail.*"], ["stall/plain/tasks.py"]),
            (["stall.tasks"], ["nothing.*"], ["stall.tasks"]),
            (["stall.tasks"], ["**.*"], []),
        ],
    )
    def test_excluded_modules_are_left_out(
        self, app: Horsies, project: Path, patterns: list[str], exclude: list[str], expected: list[str]
    ) -> None:
        assert project.is_dir()
        assert app.expand_module_globs(patterns, exclude=exclude) == expected

    @pytest.mark.parametrize("name", ["patterns", "exclude"])
    def test_a_string_is_no_list_of_patterns(self, app: Horsies, name: str) -> None:
        with pytest.raises(ConfigurationError, match="must be a list of patterns, got the string 'stall'") as caught:
            app.expand_module_globs(**{"patterns": [], name: "stall"})
        assert caught.value.code == "HRS-207"

    def test_an_absolute_one(self, project: Path) -> None:
        assert expand_globs([f"{project}/chores/*.py"]) == [f"{project}/chores/clean.py"]

    @pytest.mark.usefixtures("project")
    def test_several_find_each_module_once(self) -> None:
        found = expand_globs(["stall.tasks", "stall.*.tasks", "stall.mail.*", "chores/*.py"])
        assert found == ["chores/clean.py", "stall.mail.tasks", "stall.plain.tasks", "stall.tasks"]

    @pytest.mark.usefixtures("project")
    def test_found_modules_can_be_imported(self) -> None:
        assert import_tasks(expand_globs(["stall.**.tasks", "chores/**/*.py"])) == []


class TestDiscovery:
    """Recording modules imports nothing. The check imports exactly the recorded modules."""

    def test_recorded_modules_are_imported_by_the_check(self, app: Horsies, project: Path) -> None:
        (project / "stall/tasks.py").write_text(f"import pathlib; pathlib.Path({str(project)!r}, 'mark').touch()")
        app.discover_tasks(["stall.tasks"])
        app.discover_tasks(["chores/clean.py", "stall.tasks"])
        assert "stall.tasks" not in sys.modules
        assert not (project / "mark").exists()
        assert app.check() == []
        assert (project / "mark").exists()
        assert "clean" in sys.modules
        assert "stall.mail.tasks" not in sys.modules

    def test_a_file_has_one_module_by_whatever_name(self, project: Path) -> None:
        by_path = import_file(project / "stall/mail/tasks.py")
        assert by_path.__name__ == "stall.mail.tasks"
        assert import_file(Path("stall/mail/../mail/tasks.py")) is by_path
        assert import_tasks(["stall.mail.tasks", "stall/mail/tasks.py"]) == []
        assert sys.modules["stall.mail.tasks"] is by_path

    @pytest.mark.usefixtures("project")
    def test_all_problems_are_reported_together(self, app: Horsies, project: Path) -> None:
        (project / "chores/clean.py").write_text("x = 1\n1 / 0\n")
        (project / "stall/tasks.py").write_text("raise SystemExit('postgresql://me:hunter2@host/db is wrong')")
        (project / "stall/mail/tasks.py").write_text("from horsies import AppConfig\nAppConfig(cluster_wide_cap=0)")
        app.discover_tasks(["chores/clean.py", "stall.tasks", "stall.mail.tasks", "nothing.there", "no/such.py"])
        problems = app.check()
        broken = ErrorCode.MODULE_EXEC_ERROR
        assert [problem.code for problem in problems] == [
            broken,
            broken,
            ErrorCode.CONFIG_INVALID_CLUSTER_CAP,
            broken,
            broken,
        ]
        assert (problems[0].location and problems[0].location.line) == 2
        assert "ZeroDivisionError" in problems[0].message
        assert "hunter2" not in "".join(map(str, problems))
        assert all(name in str(problem) for name, problem in zip(("nothing", "such"), problems[3:], strict=True))

    def test_a_file_whose_name_is_taken(self, project: Path) -> None:
        (project / "chores/json.py").touch()
        [problem] = import_tasks(["chores/json.py"])
        assert problem.code == ErrorCode.WORKER_INVALID_LOCATOR
        assert "json" in problem.message


class TestAModuleThatListsItself:
    """The running script is not imported again under its other name."""

    def run(self, folder: Path, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        environment = {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout.strip()

    def test_run_as_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "instance.py").write_text(dedent(INSTANCE).format(itself="instance", names=["instance"]))
        assert self.run(tmp_path, "instance.py") == "[] ['add'] True"

    def test_run_as_a_file_and_listed_as_one(self, tmp_path: Path) -> None:
        (tmp_path / "instance.py").write_text(dedent(INSTANCE).format(itself="instance.py", names=["instance"]))
        assert self.run(tmp_path, "instance.py") == "[] ['add'] True"

    def test_run_as_a_module(self, tmp_path: Path) -> None:
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/instance.py").write_text(
            dedent(INSTANCE).format(itself="shop.instance", names=["shop.instance"])
        )
        assert self.run(tmp_path, "-m", "shop.instance") == "[] ['add'] True"

    def test_imported(self, tmp_path: Path) -> None:
        (tmp_path / "instance.py").write_text(dedent(INSTANCE).format(itself="instance", names=["instance"]))
        code = "import instance; print(instance.app.check(), instance.app.list_tasks())"
        assert self.run(tmp_path, "-c", code) == "[] ['add']"
