"""Every prompt of the workflows in this family, as text."""

from collections.abc import Sequence

from counterpoint.task import Problem


def solve(problem: Problem) -> str:
    """Ask for a solution of the problem."""
    return f"{problem.text}\n\nSolve the problem step by step. {problem.answer_format}"


def choose(problem: Problem, solutions: Sequence[str]) -> str:
    """Ask which of the numbered solutions is right; the reply names its number."""
    numbered = "\n\n".join(f"Solution {number}:\n{text.strip()}" for number, text in enumerate(solutions, start=1))
    return (
        f"Problem: {problem.text}\n\n{numbered}\n\n"
        r"Which solution is right? Compare them, then write the number of the best one as \boxed{number}."
    )
