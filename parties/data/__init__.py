"""Tables: read, checked, and made into numbers."""
