"""From Python values to JSON and back, by annotation: data only, never the name of a class."""
