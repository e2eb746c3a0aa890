"""Producers: send tasks, wait for results, and inspect tasks, from synchronous and asynchronous code."""
