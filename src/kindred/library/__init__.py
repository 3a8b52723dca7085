"""What is in the library: tracks, their names, and how they come in."""
