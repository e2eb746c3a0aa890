"""Monitoring: questions about tasks, queues and workers."""
