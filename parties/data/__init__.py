"""Tables are read from files here, checked, and made into numbers."""
