"""The prompts of the workflows of this package, as text."""

from collections.abc import Sequence

from counterpoint.task import Problem

_VERDICT = (
    "Is this solution right? Check it step by step and say where it goes wrong, if it does, without writing a solution"
    r" of your own. End with \boxed{correct} or \boxed{incorrect}."
)


def solve(problem: Problem) -> str:
    """Ask for a solution of the problem."""
    return f"{problem.text}\n\nSolve the problem step by step. {problem.answer_format}"


def choose(problem: Problem, solutions: Sequence[str]) -> str:
    """Ask which of the numbered solutions is right; the reply names its number."""
    return (
        f"Problem: {problem.text}\n\n{_numbered(solutions)}\n\n"
        r"Which solution is right? Compare them, then write the number of the best one as \boxed{number}."
    )


def judge(problem: Problem, solution: str) -> str:
    """Ask whether a solution is right."""
    return f"Problem: {problem.text}\n\nSolution:\n{solution.strip()}\n\n{_VERDICT}"


def judge_again(solution: str) -> str:
    """Ask whether another solution of the problem before is right."""
    return f"New solution:\n{solution.strip()}\n\n{_VERDICT}"


def judge_above() -> str:
    """Ask whether the solution that the conversation ends with is right."""
    return _VERDICT


def refine(problem: Problem, review: str) -> str:
    """Ask for a better solution than the last, given a review of it."""
    return (
        f"A reviewer says about your solution:\n{review.strip()}\n\n"
        f"Write a better solution, step by step. {problem.answer_format}"
    )


def refine_above(problem: Problem) -> str:
    """Ask for a better solution, given the review that the conversation ends with."""
    return f"Write a better solution that answers the review above, step by step. {problem.answer_format}"


def propose(problem: Problem, count: int) -> str:
    """Ask for strategies; the reply numbers them."""
    return (
        f"{problem.text}\n\nPropose up to {count} different strategies for this problem, a line each. Do not solve it."
        " Write them as\nStrategy 1: ...\nStrategy 2: ..."
    )


def follow(problem: Problem, strategy: str) -> str:
    """Ask for a solution of the problem by a strategy."""
    return (
        f"{problem.text}\n\nStrategy: {strategy.strip()}\n\nSolve the problem step by step, following this strategy."
        f" {problem.answer_format}"
    )


def synthesize(problem: Problem, solutions: Sequence[str]) -> str:
    """Ask for a final solution, given several."""
    return (
        f"Problem: {problem.text}\n\n{_numbered(solutions)}\n\n"
        f"Compare the solutions, then write the final solution. {problem.answer_format}"
    )


def reconsider(problem: Problem, solutions: Sequence[str]) -> str:
    """Ask for a final solution, given those of others, after one's own."""
    return (
        f"Others wrote:\n\n{_numbered(solutions)}\n\n"
        f"Compare them with your solution, then write your final solution. {problem.answer_format}"
    )


def _numbered(solutions: Sequence[str]) -> str:
    return "\n\n".join(f"Solution {number}:\n{text.strip()}" for number, text in enumerate(solutions, start=1))
