"""Astra DB, or a Data API of one's own, as a library store."""
