"""What is in the library: tracks, their names, and how they come in."""

from kindred.storage.records import Track, TrackFilter

__all__ = ["Track", "TrackFilter"]
