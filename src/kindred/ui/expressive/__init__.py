"""Parts of the Expressive page."""
