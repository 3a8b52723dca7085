"""Long work that shows progress, can be cancelled, and survives being killed."""
