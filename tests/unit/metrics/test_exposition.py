"""What Prometheus reads is what was counted, whatever the labels contain."""

import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from horsies.metrics import packages
from horsies.metrics.exposition import Format, accepted_format, render
from horsies.metrics.packages import missing_packages
from horsies.metrics.values import BUCKETS, Histogram, Metric, Reading, Type

JOBS = Metric("horsies_jobs_total", Type.COUNTER, "Jobs \\ with\nlines.", ("name",))
WAIT = Metric("horsies_wait_seconds", Type.HISTOGRAM, "Waits.", ("name",))
FREE = Metric("horsies_free", Type.GAUGE, "Free.")
HOSTILE = 'a"b\\c\nhorsies_jobs_total{name="forged"} 9\n# EOF\r\t\x1b[2J é \u2028'


def test_there_are_sixteen_buckets_from_5_milliseconds_to_an_hour() -> None:
    assert (len(BUCKETS), BUCKETS[0], BUCKETS[-1]) == (16, 0.005, 3600)
    assert sorted(BUCKETS) == list(BUCKETS)


def reading(name: str) -> Reading:
    waits = Histogram()
    for seconds in (-1.0, 0.005, 0.0051, 59.0, 3600.0, 3601.0):
        waits.observe(seconds)
    return [(JOBS, {(name,): 3}), (WAIT, {(name,): waits}), (FREE, {(): 0.5})]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain;version=x", Format.TEXT),
        ("nonsense;;=,", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; version=abc; escaping=\u00e9", Format.OPENMETRICS),
    ],
)
def test_the_format_is_chosen_by_the_client(accept: str, expected: Format) -> None:
    assert accepted_format(accept) is expected


@pytest.mark.parametrize("as_format", list(Format))
@pytest.mark.parametrize("name", ["mail", HOSTILE])
def test_values_come_back_unchanged(as_format: Format, name: str) -> None:
    body = render(reading(name), as_format)
    families = list((parse_openmetrics if as_format is Format.OPENMETRICS else parse)(body.decode()))
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert len(found) == 1 + 17 + 2 + 1
    assert found["horsies_jobs_total", name] == 3
    assert found["horsies_free",] == 0.5
    assert found["horsies_wait_seconds_count", name] == 6
    buckets = [sample for family in families for sample in family.samples if sample.name.endswith("_bucket")]
    counts = {sample.labels["le"]: sample.value for sample in buckets}
    assert (counts["0.005"], counts["0.01"], counts["60.0"], counts["3600.0"], counts["+Inf"]) == (2, 3, 4, 5, 6)


def test_the_sum_counts_no_negative_duration() -> None:
    histogram = Histogram()
    histogram.observe(-5.0)
    histogram.observe(2.0)
    assert (histogram.total, sum(histogram.counts)) == (2.0, 2)


def test_a_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_packages("--metrics-port") is None
    monkeypatch.setattr(packages, "find_spec", {"h11": sys}.get)
    error = missing_packages("--metrics-port")
    assert error is not None
    assert error.message == "--metrics-port needs packages that are not installed: prometheus_client"
    assert error.help_text == "run: pip install 'prometheus-client>=0.22' 'h11>=0.16'"
