"""A job at one participant, durable: its messages, checkpoints, and who is there."""
