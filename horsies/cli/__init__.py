"""The command line: ``horsies worker``, ``send``, ``db``."""
