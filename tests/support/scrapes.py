"""What Prometheus reads: the pages of a worker and of `horsies metrics`, and the samples in them."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.workers import WorkerProcess

type Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one scrape, by name and labels."""

    samples: dict[tuple[str, Labels], float]

    @classmethod
    def of(cls, text: str) -> "Scrape":
        """Parse the text that Prometheus reads. A series that occurs twice is an error."""
        found: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, key
                found[key] = sample.value
        return cls(found)

    def value(self, name: str, **labels: str) -> float:
        """Return one sample."""
        return self.samples[name, frozenset(labels.items())]

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name, by the values of these labels."""
        rows = [(dict(found), value) for (each, found), value in self.samples.items() if each == name]
        return {tuple(found[label] for label in labels): value for found, value in rows}

    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {name for name, _ in self.samples}

    def fallen(self, earlier: "Scrape") -> Iterable[tuple[str, Labels]]:
        """Return the counters that are lower than in an earlier scrape of the same worker, or have gone."""
        ends = ("_total", "_bucket", "_count", "_sum")
        return [
            key for key, value in earlier.samples.items() if key[0].endswith(ends) and self.samples.get(key, -1) < value
        ]


def fetch(url: str) -> tuple[int, str]:
    """Return the status and the text of a page."""
    page = httpx.get(url, timeout=10)
    return page.status_code, page.text


def metrics_url(worker: WorkerProcess) -> str:
    """Return the address of the metrics of a worker, without the path, from its log."""
    return worker.wait_for_log(r"metrics\.listening url=(\S+)/metrics")[1]


def scrape(url: str) -> Scrape:
    """Read the metrics at an address."""
    status, text = fetch(f"{url}/metrics")
    assert status == 200, text
    return Scrape.of(text)
