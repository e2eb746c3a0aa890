"""Integrations with other frameworks. Each one needs an extra of the package, such as ``horsies[django]``."""
