"""A session is one job at one participant. It is durable: it keeps messages and checkpoints, and knows who is there."""
