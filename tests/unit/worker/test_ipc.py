"""Frames and reports on their way between the processes of a worker."""

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horsies.db.queries.worker import Fence, Storage
from horsies.postponement import PostponeScope
from horsies.worker.ipc import Frame, FrameReader, Kind, Origin, Report, decode_report

FENCE = Fence(UUID(int=7), 1 << 40)
frames = st.lists(st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=40)), max_size=6)


@given(frames, st.lists(st.integers(0, 300)))
def test_a_stream_gives_the_same_frames_wherever_it_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    pieces = [stream[begin:end] for begin, end in pairwise(places)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == sent


@pytest.mark.parametrize(
    "report",
    [
        Report(FENCE, ok=True, result=b'{"sum":3}', seconds=0.5),
        Report(FENCE, ok=True, result=b"", storage=Storage.TASK, traceparent="00-1-2-01"),
        Report(FENCE, ok=False, result=b"{}", error_code="LATE", retry_after=0.0, origin=Origin("ÖError", "a.py:7")),
        Report(FENCE, ok=False, result=b"{}", error_code="LATER", retry_after=2.5, postponed=PostponeScope.QUEUE),
    ],
)
def test_a_report_arrives_as_the_outcome_for_the_database(report: Report) -> None:
    assert decode_report(report.encode(), 42, "host:1/0") == report.to_outcome(42, "host:1/0")
