"""Both drivers of an app over one database."""

from collections.abc import Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from horsies.config.app import AppConfig
from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.operations import Operation
from horsies.producer.async_driver import AsyncDriver
from horsies.producer.sync_driver import SyncDriver
from horsies.producer.waiter import Waiters


class Drivers:
    """The synchronous and the asynchronous driver over one database; they run the operations of tasks and handles."""

    def __init__(self, config: AppConfig) -> None:
        self._database = database = Database(config.broker)
        poll_seconds = config.resilience.notify_poll_interval_ms / 1000
        self._waiters = Waiters(database, poll_seconds, results_in_notices=config.results_in_notices)
        self._sync = SyncDriver(database, self._waiters)
        self._async = AsyncDriver(database, self._waiters)
        self._replacement: Drivers | None = None

    @contextmanager
    def replaced(self, other: "Drivers") -> Generator[None]:
        """Let ``other`` run all operations within the block, in all threads and event loops, for tests."""
        before, self._replacement = self._replacement, other
        try:
            yield
        finally:
            self._replacement = before

    @property
    def database(self) -> Database:
        """The database on which the operations run."""
        return self._database if self._replacement is None else self._replacement.database

    def run[R](self, operation: Operation[R]) -> R:
        """Run an operation, blocking the calling thread."""
        return self._sync.run(operation) if self._replacement is None else self._replacement.run(operation)

    def run_async[R](self, operation: Operation[R]) -> Coroutine[Any, Any, R]:
        """Return a coroutine that runs an operation on the running event loop."""
        return self._async.run(operation) if self._replacement is None else self._replacement.run_async(operation)

    def connection(self) -> AbstractContextManager[BoundedConnection]:
        """Provide a connection of the blocking pool, for calls that are no operations."""
        return self._sync.connection()

    def assume_prepared(self) -> None:
        """Do not check the schema before the first call, because another process of this program has done so."""
        self._database.is_prepared = True

    def close(self) -> None:
        """Close the connections of this process."""
        if self._replacement is not None:
            self._replacement.close()
        self._sync.close()
        self._waiters.close()

    def close_all(self) -> None:
        """Close the connections of this process, and the idle ones of all event loops."""
        self._async.close_idle()
        self.close()

    async def close_async(self) -> None:
        """Close the connections of the running event loop, and those of this process."""
        if self._replacement is not None:
            await self._replacement.close_async()
        await self._async.close()
        self.close()
