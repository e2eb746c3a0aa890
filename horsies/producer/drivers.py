"""Both drivers of an app over one database."""

from collections.abc import Coroutine
from typing import Any

from horsies.config.app import AppConfig
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

    @property
    def database(self) -> Database:
        """The database on which the operations run."""
        return self._database

    def run[R](self, operation: Operation[R]) -> R:
        """Run an operation, blocking the calling thread."""
        return self._sync.run(operation)

    def run_async[R](self, operation: Operation[R]) -> Coroutine[Any, Any, R]:
        """Return a coroutine that runs an operation on the running event loop."""
        return self._async.run(operation)

    def assume_prepared(self) -> None:
        """Do not check the schema before the first call, because another process of this program has done so."""
        self._database.is_prepared = True

    def close(self) -> None:
        """Close the connections of this process."""
        self._sync.close()
        self._waiters.close()

    async def close_async(self) -> None:
        """Close the connections of the running event loop, and those of this process."""
        await self._async.close()
        self.close()
