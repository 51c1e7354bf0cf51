"""What shines, how it is seen, and what is true of it."""
