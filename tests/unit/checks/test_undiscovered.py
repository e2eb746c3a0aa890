"""Apps without tasks, tasks in modules that nothing imports, and apps that exist twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import horsies
from tests.support.workers import clean_environment

APP = "from horsies import *\napp = Horsies(AppConfig(broker=PostgresConfig(database_url='postgresql://h/db')))\n"
TASK = "\n@app.task('add')\ndef add(a: int) -> TaskResult[int, TaskError]:\n    return TaskResult(ok=a)\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def check(folder: Path, locator: str) -> list[tuple[str, str]]:
    """Return the severity and code of each finding of ``horsies check``."""
    done = horsies(folder, "check", locator, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == int(any(each["severity"] == "error" for each in found)), done.stderr
    return [(each["severity"], each["code"]) for each in found]


def test_an_app_without_tasks_is_warned_of_and_refused_by_a_worker(tmp_path: Path) -> None:
    write(tmp_path, {"inst.py": APP})
    assert check(tmp_path, "inst:app") == [("warning", "HRS-302")]
    shown = horsies(tmp_path, "check", "inst:app")
    assert (shown.returncode, shown.stdout) == (0, "ok: 0 tasks, 0 workflows, 0 schedules\n")
    assert shown.stderr.startswith("warning[HRS-302]: the app 'inst' has no tasks\n --> inst.py:2\n")
    refused = horsies(tmp_path, "worker", "inst:app")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error[HRS-302]: the app 'inst' has no tasks\n --> inst.py:2\n")
    assert "name their modules: app.discover_tasks" in refused.stderr


@pytest.mark.parametrize(
    ("files", "setting"),
    [
        ({"inst.py": APP, "jobs.py": "from inst import app, TaskResult, TaskError\n" + TASK}, "['jobs']"),
        ({"inst.py": APP, "work/jobs.py": "import inst\nfrom inst import *\n" + TASK}, "['work.jobs']"),
        (
            {"shop/__init__.py": "", "shop/inst.py": APP, "shop/a/b/jobs.py": "from shop.inst import *\n" + TASK},
            "['shop.a.b.jobs']",
        ),
        ({"shop/__init__.py": APP, "shop/jobs.py": "from shop import *\nfrom . import app\n" + TASK}, "['shop.jobs']"),
    ],
)
def test_tasks_in_no_discovered_module_are_named_with_the_setting(
    tmp_path: Path, files: dict[str, str], setting: str
) -> None:
    write(tmp_path, files)
    locator = next(iter(name for name, text in files.items() if text == APP))
    module = locator.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    refused = horsies(tmp_path, "worker", f"{module}:app")
    assert refused.returncode == 1
    assert "error[HRS-302]" in refused.stderr
    assert f"= help: add app.discover_tasks({setting}) where the app is made" in refused.stderr
    assert check(tmp_path, f"{module}:app") == [("warning", "HRS-302")]


def test_a_module_that_is_forgotten_beside_others_is_warned_of(tmp_path: Path) -> None:
    jobs = "from inst import app, TaskResult, TaskError\n" + TASK
    mail = jobs.replace("'add'", "'mail'")
    write(tmp_path, {"inst.py": APP + "app.discover_tasks(['jobs'])\n", "jobs.py": jobs, "mail.py": mail})
    assert check(tmp_path, "inst:app") == [("warning", "HRS-304")]
    shown = horsies(tmp_path, "check", "inst:app").stderr
    assert " --> mail.py:3\n" in shown
    assert "add app.discover_tasks(['mail'])" in shown


def test_unreadable_files_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"inst.py": APP + TASK, "folder.py/readme.txt": ""})
    (tmp_path / ".#inst.py").symlink_to("me@host.4711:1764340000")  # Emacs creates such a link while a file is edited
    (tmp_path / "looping.py").symlink_to("looping.py")
    assert check(tmp_path, "inst:app") == []


def test_tests_and_modules_of_other_apps_are_ignored(tmp_path: Path) -> None:
    other = "from other import app, TaskResult, TaskError\n" + TASK
    write(
        tmp_path,
        {
            "inst.py": APP + TASK,
            "test_jobs.py": "from inst import app\n" + TASK,
            "tests/jobs.py": "from inst import app\n" + TASK,
            ".venv/jobs.py": "from inst import app\n" + TASK,
            "other.py": APP + TASK,
            "jobs.py": other,
        },
    )
    assert check(tmp_path, "inst:app") == []


class TestOneAppUnderTwoNames:
    """A module that makes an app is one module object, even if it is imported under several names."""

    def run(self, folder: Path, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @pytest.mark.parametrize("command", [["inst.py"], ["-m", "inst"]], ids=" ".join)
    def test_a_script_and_its_import(self, tmp_path: Path, command: list[str]) -> None:
        show = "print(app.check(), app.list_tasks(), [w.code for w in app.check_warnings()])\n"
        write(
            tmp_path,
            {
                "inst.py": f"{APP}app.discover_tasks(['jobs'])\nif __name__ == '__main__':\n    {show}",
                "jobs.py": "from inst import *\n" + TASK,
            },
        )
        assert self.run(tmp_path, *command) == "[] ['add'] []"

    def test_a_part_of_a_package_that_is_run(self, tmp_path: Path) -> None:
        show = "print(app.check(), app.list_tasks())\n"
        write(
            tmp_path,
            {
                "shop/__init__.py": "",
                "shop/inst.py": f"{APP}app.discover_tasks(['shop.jobs'])\nif __name__ == '__main__':\n    {show}",
                "shop/jobs.py": "import shop.inst\nfrom . import inst\nfrom shop.inst import *\napp = inst.app\n"
                + TASK,
            },
        )
        assert self.run(tmp_path, "-m", "shop.inst") == "[] ['add']"

    @pytest.mark.parametrize("import_jobs", ["app.discover_tasks(['shop.jobs'])", "import shop.jobs"])
    def test_the_file_of_a_package_without_init(self, tmp_path: Path, import_jobs: str) -> None:
        write(tmp_path, {"shop/main.py": f"{APP}{import_jobs}\n", "shop/jobs.py": "from shop.main import *\n" + TASK})
        assert check(tmp_path, "shop/main.py:app") == []
        assert check(tmp_path, "shop.main:app") == []

    def test_the_attribute_of_a_package_without_init(self, tmp_path: Path) -> None:
        """``import shop.main`` binds ``shop``, so its attribute ``main`` is needed."""
        show = "print(app.check(), app.list_tasks())\n"
        main = f"{APP}app.discover_tasks(['shop.jobs'])\nif __name__ == '__main__':\n    {show}"
        jobs = "import shop.main\nfrom horsies import *\napp = shop.main.app\n" + TASK
        write(tmp_path, {"shop/main.py": main, "shop/jobs.py": jobs})
        assert self.run(tmp_path, "-m", "shop.main") == "[] ['add']"
        assert check(tmp_path, "shop/main.py:app") == []
        assert check(tmp_path, "shop.main:app") == []

    def test_a_name_that_belongs_to_another_file_is_left_alone(self, tmp_path: Path) -> None:
        show = "import json, other\nprint(json.dumps([app.list_tasks(), other.X]))\n"
        write(
            tmp_path,
            {
                "lib/other.py": "X = 1\n",
                "scripts/other.py": f"import sys\nsys.path.insert(0, 'lib')\n{APP}{TASK}{show}",
            },
        )
        assert json.loads(self.run(tmp_path, "scripts/other.py")) == [["add"], 1]

    def test_two_apps_of_one_file_are_an_error_that_names_both(self, tmp_path: Path) -> None:
        """The check does not run the code of a package to find another name."""
        write(
            tmp_path,
            {
                "src/shop/__init__.py": "",
                "src/shop/inst.py": APP + "app.discover_tasks(['src.shop.jobs'])\n",
                "src/shop/jobs.py": "from src.shop.inst import *\n" + TASK,
            },
        )
        done = horsies(tmp_path, "worker", "shop.inst:app", PYTHONPATH=str(tmp_path / "src") + os.pathsep)
        assert done.returncode == 1
        assert "error[HRS-303]" in done.stderr
        assert "imported twice, as 'shop.inst' and as 'src.shop.inst'" in done.stderr
        assert "only the app of 'src.shop.inst' has the tasks add" in done.stderr
        assert "start with the locator src.shop.inst:app" in done.stderr
        assert check(tmp_path, "src.shop.inst:app") == []
