"""The engine: segments in, connections that are over out."""
