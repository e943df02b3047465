"""Embeddings that can be cut: nested codes, measured on your own data."""

__version__ = "0.1.0"
