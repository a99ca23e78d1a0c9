"""Compressors: one file an algorithm, and the registry."""

from host.compressors.registry import compressor, names

__all__ = ["compressor", "names"]
