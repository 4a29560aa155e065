"""Exit codes by which a confined process reports how it failed. A program that exits with one itself has failed too."""

OUT_OF_MEMORY = 113
"""It exceeded its memory limit."""
BAD_VALUE = 114
"""Its function returned a value that is not built-in, too large or too deeply nested."""
NOT_CONFINED = 115
"""A layer of confinement could not be applied; the program was not run."""
EXAM_FAILED = 116
"""An assertion of the exam failed, or an answer of the program could not be decoded."""
EXAM_BROKEN = 118
"""The exam failed before it called the program: no program can pass it."""
DISMISSED = 117
"""It was waiting for calls when the exam ended."""
