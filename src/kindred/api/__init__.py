"""The HTTP API and the audio routes.

One set of routes (:mod:`~kindred.api.routes`) asks a :class:`~kindred.api.source.Source`: the live
library (:mod:`~kindred.api.library`) or an artifact alone (:mod:`~kindred.api.artifact`).
"""
