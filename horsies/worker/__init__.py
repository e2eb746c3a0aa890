"""The worker: a supervisor that talks to the database, a template process that forks, children that run tasks."""
