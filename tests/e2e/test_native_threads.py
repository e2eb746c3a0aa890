"""Apps whose import starts threads of native libraries, or patches the standard library with gevent or eventlet."""

import subprocess

import pytest

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.workers import HORSIES, WorkerProcess

OPENMP = """
#include <omp.h>
int work(int n) {
  int sum = 0;
  #pragma omp parallel for reduction(+:sum) num_threads(3)
  for (int i = 0; i < n; i++) sum += 1;
  return sum;
}
"""
NAMED = """
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
static void *wait(void *nothing) { pause(); return nothing; }
int start(void) {
  pthread_t thread;
  pthread_create(&thread, 0, wait, 0);
  return pthread_setname_np(thread, "grpc_global_tim");
}
"""
WARMED_UP = """
import ctypes
from mixed_tasks import *
library = ctypes.CDLL("./library.so")
library.{call}

@app.task("predict")
def predict(n: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=library.work(n))
"""
PATCHED = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\nfrom mixed_tasks import app\n",
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\nfrom mixed_tasks import app\n",
}
METHODS = pytest.mark.parametrize("method", ["fork", "spawn"])


def build(environment: Environment, source: str, call: str) -> None:
    (environment.folder / "library.c").write_text(source)
    command = ["gcc", "-shared", "-fPIC", "-fopenmp", "-pthread", "-o", "library.so", "library.c"]
    subprocess.run(command, cwd=environment.folder, check=True)
    (environment.folder / "native.py").write_text(WARMED_UP.format(call=call))


def test_a_warning_about_threads_of_openmp_names_the_fix(environment: Environment) -> None:
    build(environment, OPENMP, "work(1000)")
    worker = environment.worker(app="native:app")
    worker.wait_until_ready()
    found = worker.wait_for_log(r"WARNING app\.native_threads_found threads=horsies,horsies libraries=gomp .*")
    assert "--start-method spawn" in found[0]
    assert environment.send("ok", "needs no threads").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


def test_the_warning_names_threads(environment: Environment) -> None:
    build(environment, NAMED, "start()")
    worker = environment.worker(app="native:app")
    worker.wait_for_log(r"WARNING app\.native_threads_found threads=grpc_global_tim ")
    worker.wait_until_ready()
    assert worker.stop() == 0


def test_spawned_children_run_tasks_that_forked_ones_could_not(environment: Environment) -> None:
    build(environment, OPENMP, "work(1000)")
    worker = environment.worker("--start-method=spawn", app="native:app")
    worker.wait_until_ready()
    sent = horsies(
        environment.folder, "send", "native:app", "predict", "1000", "--wait", **{URL_VARIABLE: environment.url}
    )
    assert sent.stdout.strip() == "1000", sent.stderr
    assert worker.stop() == 0
    assert "WARNING" not in worker.log()


def test_there_is_no_warning_without_native_threads(environment: Environment) -> None:
    worker = environment.ready_worker()
    assert worker.stop() == 0
    assert "native_threads" not in worker.log()


def test_a_program_with_native_threads_is_warned_before_it_forks(environment: Environment) -> None:
    build(environment, NAMED, "start()")
    program = environment.folder / "native.py"
    program.write_text(program.read_text() + "\nif __name__ == '__main__':\n    app.worker().run()\n")
    worker = WorkerProcess(
        ["native.py"], environment.folder, {URL_VARIABLE: environment.url}, executable=HORSIES.with_name("python")
    )
    environment.at_end(worker.assert_gone)
    environment.at_end(worker.kill_all)
    worker.wait_until_ready()
    assert "WARNING app.native_threads_found threads=grpc_global_tim " in worker.log()
    assert worker.stop() == 0


@METHODS
@pytest.mark.parametrize("library", PATCHED)
def test_a_patched_app_works_or_is_refused_with_the_fix(environment: Environment, library: str, method: str) -> None:
    (environment.folder / "patched.py").write_text(PATCHED[library])
    worker = environment.worker(f"--start-method={method}", "--concurrency=2", app="patched:app")
    if (library, method) == ("gevent", "spawn"):
        worker.wait_until_ready()
        assert environment.send("ok", "key").get(timeout_ms=20_000).is_ok()
        assert worker.stop() == 0
        return
    assert worker.wait() == 1
    assert f"error[HRS-210]: importing the app patched the standard library with {library}" in worker.log()
    assert "not in a module that a worker imports" in worker.log()
    assert ("--start-method spawn" in worker.log()) == (library == "gevent")
    assert "SIGABRT" not in worker.log()
