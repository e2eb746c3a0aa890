"""`current_task` in real children: progress reports are stored, including the last one of each task."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from horsies import TaskHandle, TaskInfo
from tests.conftest import StartWorker
from tests.support.environment import load_tasks
from tests.support.pooler import pooled_variables
from tests.support.waiting import wait_until

TASKS = Path(__file__).with_name("progress_tasks.py")
STEPS = 500


def info_of(handle: TaskHandle[Any]) -> TaskInfo:
    info = handle.info().unwrap()
    assert info is not None
    return info


@pytest.mark.parametrize("how", ["--processes=2", "--concurrency=4"])
def test_progress_of_many_tasks(how: str, database_url: str, tmp_path: Path, start_worker: StartWorker) -> None:
    shutil.copy(TASKS, tmp_path)
    worker = start_worker("progress_tasks:app", how)
    tasks = load_tasks(tmp_path / TASKS.name, pooled_variables(database_url))
    try:
        handles = [task.send(STEPS).unwrap() for task in (tasks.work, tasks.work_async) for _ in range(5)]
        for handle in handles:
            seen = handle.get(timeout_ms=30_000).ok_value
            info = info_of(handle)
            assert info.progress == {"done": STEPS, "total": STEPS, "note": "steps"}
            assert seen == {
                "id": handle.task_id,
                "attempt": 1,
                "queue": "default",
                "has_deadline": info.task_name == "work",
            }
        running = tasks.until_cancelled.send().unwrap()
        wait_until(lambda: info_of(running).progress == {"done": 0.5, "total": 1, "note": None})
        assert running.cancel().unwrap() is True
        again = tasks.app.rerun(handles[0].task_id).unwrap()
        assert again.get(timeout_ms=30_000).ok_value["id"] == again.task_id
        assert info_of(again).rerun_of == handles[0].task_id
        assert worker.stop() == 0
    finally:
        tasks.app.close()
