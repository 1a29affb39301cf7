"""Batch recommendation jobs: Postgres to Keras to Postgres, every night."""

__version__ = "0.1.0"
