"""Expressive similarity: a learned scoring function that must show what it follows.

Scores are played with controlled tempo, phrasing, dynamics, articulation and timbre, so that what
is alike is known by construction. A slow scorer (the oracle) and a fast one (the retriever) learn
from it, and gates decide whether the retriever may be shown to anyone.
"""
