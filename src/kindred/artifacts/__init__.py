"""Versioned artifacts: what a library knows in one encoder's space, as files for other programs.

See :mod:`kindred.artifacts.layout` for the files, ``docs/artifacts.md`` for how to read them.
"""
