"""All sides of an algorithm agree on what is here; each algorithm has a folder."""
