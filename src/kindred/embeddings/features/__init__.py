"""Hand-made descriptors of a window of music, one module a family, from one shared spectrum."""
