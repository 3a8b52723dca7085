"""The HTTP API and the audio routes."""
