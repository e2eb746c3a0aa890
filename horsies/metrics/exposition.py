"""The text that Prometheus reads. This module needs the extra ``metrics``."""

from collections.abc import Callable, Iterator
from enum import Enum
from itertools import accumulate

from prometheus_client import exposition as text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from horsies.metrics.values import BUCKETS, Histogram, Metric, Reading, Samples, Type

_OPENMETRICS = "application/openmetrics-text"


class Format(Enum):
    """A format of the text. The values are content types."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"


_ENCODERS: dict[Format, Callable[[Collector], bytes]] = {
    Format.TEXT: text.generate_latest,
    Format.OPENMETRICS: openmetrics.generate_latest,  # pyright: ignore[reportUnknownMemberType] - it has no types
}


def accepted_format(accept: str) -> Format:
    """Return the format for a client that sends this header ``Accept``.

    `prometheus_client` can choose too, but it repeats parts of the header in its answer, and fails for some headers.
    """
    return Format.OPENMETRICS if _OPENMETRICS in accept.lower() else Format.TEXT


class _Collected(Collector):
    """Gives a reading to the encoders of `prometheus_client`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Family]:
        return (_family(metric, samples) for metric, samples in self._reading)


def render(reading: Reading, as_format: Format = Format.TEXT) -> bytes:
    """Return the text of metrics in a format."""
    return _ENCODERS[as_format](_Collected(reading))


def _family(metric: Metric, samples: Samples) -> Family:
    if metric.type is Type.HISTOGRAM:
        histograms = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, value in samples.items():
            if isinstance(value, Histogram):
                histograms.add_metric(labels, _buckets(value), value.total)
        return histograms
    kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for labels, value in samples.items():
        if not isinstance(value, Histogram):
            family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    limits = [*(str(limit) for limit in BUCKETS), "+Inf"]
    return list(zip(limits, map(float, accumulate(histogram.counts)), strict=True))
