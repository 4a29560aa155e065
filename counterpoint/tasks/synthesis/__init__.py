"""Functions to be written from examples."""
