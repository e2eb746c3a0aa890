"""Metrics: their names and values, the text that Prometheus reads, and the HTTP server that serves it."""
