"""Maps of the library: layouts, how far to trust them, their regions, as files."""
