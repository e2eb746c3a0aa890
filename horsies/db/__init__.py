"""The database: SQL files, the calls made of them, connections, listening and migrations."""
