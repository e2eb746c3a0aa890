"""Checks of a whole app, before it runs."""
