"""The figures: a function per figure, from the numbers of runs to a `Figure`. They draw, and compute no statistics."""
