"""Describing workflows, checking what was described, and starting, watching and steering their runs."""
