"""What is tried against the core with instruments of its own."""
