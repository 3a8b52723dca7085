"""What a listener's browser gets: a page, and the sitting behind one link, and nothing else."""
