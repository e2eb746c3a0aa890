"""The embedded PostgreSQL server for development and tests."""
