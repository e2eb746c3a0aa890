"""Calls of the server functions, by subject, and the rows that they return."""
