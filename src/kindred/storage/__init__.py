"""Where tracks, vectors and audio are kept: the storage port and its backends."""
