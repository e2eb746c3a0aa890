"""How the spans of attempts relate to those of sends, and what sends carry."""

from dataclasses import dataclass
from typing import Literal

type TraceRelation = Literal["link", "child"]


@dataclass(frozen=True, slots=True)
class TracePolicy:
    """The settings of an app about traces.

    Attributes:
        relation: ``link``: each attempt begins a trace, with a link to the span of the send. ``child``: the attempt
            belongs to the trace of the send.
        carries_baggage: Whether tasks carry the baggage of their sender.
    """

    relation: TraceRelation = "link"
    carries_baggage: bool = False


LINKS = TracePolicy()
"""The policy of an app that sets nothing."""
