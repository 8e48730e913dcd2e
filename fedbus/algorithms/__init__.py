"""What all sides of an algorithm agree on, a folder for each."""
