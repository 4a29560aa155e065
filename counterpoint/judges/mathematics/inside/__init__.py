"""Modules of the process that compares answers: sympy and the LaTeX grammar, and nothing of the rest of the package."""
