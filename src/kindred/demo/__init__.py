"""The demo library: public scores rendered to audio."""
