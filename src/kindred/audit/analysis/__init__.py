"""What the answers of a listening study say, about the systems and about the listeners."""
