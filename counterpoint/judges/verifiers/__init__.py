"""Replies scored by the rewards of an environment of the package verifiers."""
