"""Workflows: their definition and validation, and the starting, monitoring and control of their runs."""
