"""Which function of a program is called: its own, however it is defined, and never one that was there before."""

import asyncio
import sys

import pytest

from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import AssertSuite, CallSuite
from counterpoint.sandboxes.base import Verdict
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.sandboxes.inside.program import prelude

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has"),
    pytest.mark.filterwarnings("ignore:only .* confine:UserWarning"),
]


def method(name, body="return sorted(x)"):
    return f"class Solution:\n    def {name}(self, x):\n        {body}"


PASS = {
    "merge": [method("merge"), f"from heapq import *\n{method('merge')}", f"merge = 0\n{method('merge')}"],
    "reduce": [method("reduce"), "def reduce(x):\n    return sorted(x)", "reduce = lambda x: sorted(x)"],
    "bisect": [method("bisect"), f"import bisect\n{method('bisect')}", "bisect = sorted"],
    "random": [method("random"), f"import random\n{method('random', 'random.seed(1); return sorted(x)')}"],
    "accumulate": [f"from itertools import *\n{method('accumulate')}", "accumulate = sorted"],
    "deepcopy": [method("deepcopy", "return sorted(deepcopy(x))")],
    "f": [
        method("f"),
        "class Solution:\n    def __init__(self):\n        self.f = sorted",
        "class Solution:\n    def f(self, x):\n        return x\ndef f(x):\n    return sorted(x)",
        f"{method('f')}\nf = Solution().f",
        "from builtins import sorted as f",
        "import functools\nf = functools.partial(sorted, reverse=False)",
        "@cache\ndef g(n):\n    return n\ndef f(x):\n    return [g(one) for one in sorted(x)]",
        "def f(x):\n    return list(chain(sorted(x)))[: bisect_left(range(9), len(x))]",
    ],
}
FAIL = {
    "sorted": ["pass"],
    "deepcopy": ["pass", "x = deepcopy([1])", "def g(x):\n    return x"],
    "copy": ["pass", "import copy"],
    "sqrt": ["import math"],
    "merge": ["class Solution:\n    pass", "from heapq import merge"],
    "f": ["f = 7", "class Solution:\n    f = 7", "import math as f"],
}


def test_the_function_of_the_program_is_called_and_no_other():
    cases = [(function, source, True) for function, sources in PASS.items() for source in sources]
    cases += [(function, source, False) for function, sources in FAIL.items() for source in sources]

    async def judge_all():
        async with Grader(fork_server(slots=2, require="C")) as grader:
            called = [
                grader.grade(source, CallSuite(function=name, tests=((([1, 2],), [1, 2]),)))
                for name, source, _ in cases
            ]
            exams = [AssertSuite(function=name, exams=(f"assert {name}([2, 1]) == [1, 2]",)) for name, _, _ in cases]
            examined = [grader.grade(source, exam) for (_, source, _), exam in zip(cases, exams, strict=True)]
            return await asyncio.gather(*called, *examined)

    judged = asyncio.run(judge_all())
    odd = [
        (case, judgement)
        for case, judgement in zip(cases * 2, judged, strict=True)
        if (judgement.verdict is Verdict.ACCEPTED) is not case[2]
    ]
    assert odd == []


def test_a_function_that_the_program_imports_is_its_own():
    async def judge_all():
        async with Grader(fork_server(slots=2, require="C")) as grader:
            suite = CallSuite(function="gcd", tests=(((4, 6), 2),))
            return [
                (await grader.grade(source, suite)).verdict
                for source in (
                    "from math import gcd",
                    "from math import *",
                    "import math\ngcd = math.gcd",
                    "import math",
                )
            ]

    assert asyncio.run(judge_all()) == [Verdict.ACCEPTED] * 3 + [Verdict.RUNTIME_ERROR]


def test_starter_code_may_use_the_public_names_of_these_modules():
    names = (
        "accumulate permutations pairwise chain bisect_left insort heappush deque List Optional cache reduce gcd inf"
    )
    assert set(names.split()) <= prelude().keys()
