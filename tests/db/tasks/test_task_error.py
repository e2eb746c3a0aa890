"""`task_error`: builds an error that the database itself reports."""

from horsies.codec.wire import ResultCodec
from horsies.codes import OutcomeCode
from tests.support.sessions import Session, scalar


def test_it_is_read_as_a_task_error(db: Session) -> None:
    stored = scalar(db, """select horsies.task_error('UPSTREAM_SKIPPED', 'because', '{"dependency_index": 1}')""")
    error = ResultCodec(int).decode(False, stored).err_value  # a failure
    assert (error.error_code, error.message, error.data) == (
        OutcomeCode.UPSTREAM_SKIPPED,
        "because",
        {"dependency_index": 1},
    )
