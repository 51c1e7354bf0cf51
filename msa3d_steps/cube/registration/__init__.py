"""Where each exposure really looked: offsets of users, from the overlap, and from an image."""
