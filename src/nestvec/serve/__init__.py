"""Embeddings and searches over HTTP."""
