"""Finding what sounds alike: exact and approximate cosine search, filters, diversity."""
