"""Task definitions: the registry, the running task, and the discovery of task modules."""
