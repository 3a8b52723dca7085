"""Kindred: explore a music library by ear.

The package is organised as rooms (see ``docs/architecture.md``). Importing it costs nothing:
every heavy library is imported inside the function that needs it.
"""

__version__ = "0.1.0"
