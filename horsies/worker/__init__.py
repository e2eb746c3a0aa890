"""The worker: a supervisor that talks to the database, a fork server that forks, children that run tasks."""
