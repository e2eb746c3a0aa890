"""Conversion of Python values to JSON and back by their annotations. JSON never contains the name of a class."""
