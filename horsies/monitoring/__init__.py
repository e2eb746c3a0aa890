"""Monitoring: questions about tasks, queues and workers, and what they were in the past."""

from horsies.monitoring.histograms import Histogram
from horsies.monitoring.samples import Period, Sample, Throughput, throughput, throughput_async, total

__all__ = ["Histogram", "Period", "Sample", "Throughput", "throughput", "throughput_async", "total"]
