"""Configuration of an app, its queues, its database, its retry policies and its schedules."""
