"""Exit codes by which a confined process says how it failed. A program that sends one itself has failed too."""

OUT_OF_MEMORY = 113
"""It asked for more memory than it may have."""
BAD_VALUE = 114
"""Its function gave something that is not made of built-in values, or is too large or too deep."""
NOT_CONFINED = 115
"""A layer of confinement could not be put on; the program was not run."""
EXAM_FAILED = 116
"""An assertion of the exam does not hold, or a value of the program could not be used."""
DISMISSED = 117
"""It waited for calls when the exam was over."""
