"""Validation of workflow specifications."""
