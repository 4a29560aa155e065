"""Benchmarks of every claim about speed, one row per claim, against other software or a lower bound."""
