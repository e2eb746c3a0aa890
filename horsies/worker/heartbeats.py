"""When the heartbeats of this worker reached the database."""

from horsies.worker.options import suspend_clock


class HeartbeatRecord:
    """When heartbeats reached the database; written by the supervisor.

    Args:
        allowed_age_s: the age up to which a confirmed heartbeat shows that the database can be reached.
    """

    def __init__(self, allowed_age_s: float) -> None:
        self._allowed_age_s = allowed_age_s
        self._confirmed_at: float | None = None
        self._is_up = False

    def confirm(self, sent_at: float) -> None:
        """Record that the database has confirmed a heartbeat, which was sent at this time of `suspend_clock`."""
        self._confirmed_at = sent_at
        self._is_up = True

    def fail(self) -> None:
        """Record that a heartbeat did not reach the database."""
        self._is_up = False

    @property
    def is_up(self) -> bool:
        """Whether the last heartbeat reached the database."""
        return self._is_up

    @property
    def age_s(self) -> float | None:
        """The age of the last confirmed heartbeat, in seconds; None: there was none yet."""
        return None if self._confirmed_at is None else suspend_clock() - self._confirmed_at

    @property
    def is_recent(self) -> bool:
        """Whether a heartbeat was confirmed in time."""
        return self.age_s is not None and self.age_s <= self._allowed_age_s
