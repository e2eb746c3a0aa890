"""The producer's side: the drivers that carry operations out, and waiting for results."""
