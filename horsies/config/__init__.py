"""Configuration: what an app, its queues, its database and its schedules are set to."""
