"""The database layer: SQL files, calls of server functions, connections and migrations."""
