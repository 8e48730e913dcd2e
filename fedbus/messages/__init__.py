"""This is the envelope of every message, and the messages that every job has, whatever its algorithm."""
