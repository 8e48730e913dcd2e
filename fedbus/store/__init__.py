"""The store is what a participant keeps of its jobs, in a file of its own that is checked record by record."""
