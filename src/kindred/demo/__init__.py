"""The demo library: public scores rendered to audio, with tags and covers, without any download."""

from kindred.demo.render import render_demo
from kindred.demo.tracks import Track, demo_tracks

__all__ = ["Track", "demo_tracks", "render_demo"]
