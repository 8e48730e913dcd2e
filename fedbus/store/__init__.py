"""What a participant keeps of its jobs: in a file of its own, checked record by record."""
