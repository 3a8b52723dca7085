"""Turning audio into vectors: the encoder port, spaces and the encoders."""
