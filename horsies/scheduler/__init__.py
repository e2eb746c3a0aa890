"""The scheduler, which sends the tasks of schedules when they are due."""
