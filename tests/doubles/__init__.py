"""Loopback stand-ins for services that tests and benchmarks cannot reach."""
