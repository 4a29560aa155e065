r"""Answers to mathematical problems are judged as a mathematician would, and nothing that a model writes is run.

The tables were written by hand: answer, key, verdict. What counts: the answer is the same object as the key. A decimal
is the number that it denotes and no other; a unit may be left out but not be another; `40\%` is 0.4, and also 40, as
the question says what is asked for; `x = 3` answers a question for x as 3 does; a list without brackets has no order; a
pair in brackets has one.
"""

import asyncio
import json
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from counterpoint.judges.mathematics import judge as judge_module
from counterpoint.judges.mathematics.judge import MathJudge, _question, settled
from counterpoint.judges.mathematics.text import clean, number, unfit

NUMBERS = [
    ("42", "42", True),
    ("42.", "42", True),
    ("$42$", "42", True),
    (r"\(42\)", "42", True),
    ("042", "42", True),
    ("42.0", "42", True),
    ("+42", "42", True),
    ("-42", "42", False),
    ("\u221242", "-42", True),
    ("- 42", "-42", True),
    ("43", "42", False),
    ("4 2", "42", False),
    ("42, 43", "42", False),
    ("1,204", "1204", True),
    ("1204", "1,204", True),
    ("1{,}204", "1204", True),
    (r"1\,204", "1204", True),
    (r"1,\!204,\!005", "1204005", True),
    ("1,20", "120", False),
    ("12,04", "1204", False),
    ("1.204", "1204", False),
    ("0", "-0", True),
    ("073", "73", True),
    ("10^3", "1000", True),
    ("2^{10}", "1024", True),
    ("2^10", "1024", True),
    ("2^{10}", "1000", False),
    ("3!", "6", True),
    (r"\binom{5}{2}", "10", True),
    (r"\dbinom{5}{2}", "10", True),
    ("2+3", "5", True),
    (r"3 \cdot 4", "12", True),
    (r"3 \times 4", "12", True),
    (r"3 \times 4", "13", False),
]
FRACTIONS = [
    ("1/2", "0.5", True),
    (".5", "0.5", True),
    ("0.50", "1/2", True),
    (r"\frac{1}{2}", "1/2", True),
    (r"\dfrac{1}{2}", r"\frac{1}{2}", True),
    (r"\tfrac12", r"\frac{1}{2}", True),
    (r"\frac 12", r"\frac{1}{2}", True),
    (r"\frac{2}{4}", r"\frac{1}{2}", True),
    (r"\frac{1}{3}", r"\frac{1}{2}", False),
    (r"\frac{-1}{2}", r"-\frac{1}{2}", True),
    (r"\frac{1}{-2}", r"-\frac12", True),
    (r"-\frac{1}{2}", r"\frac{1}{2}", False),
    (r"-1/2", r"-\frac{1}{2}", True),
    (r"1/-2", r"-\frac{1}{2}", True),
    (r"\frac{14}{3}", "4.67", False),
    ("0.333", r"\frac{1}{3}", False),
    ("0.3333333", r"\frac{1}{3}", False),
    (r"0.\overline{3}", r"\frac{1}{3}", True),
    (r"0.1\overline{6}", r"\frac16", True),
    (r"0.\overline{142857}", "1/7", True),
    (r"0.\overline{3}", "0.3", False),
    ("0.125", r"\frac{1}{8}", True),
    (r"1\frac{1}{2}", r"\frac{3}{2}", True),
    (r"1\frac12", "1.5", True),
    ("1 1/2", "3/2", True),
    (r"-1\frac{1}{2}", "-1.5", True),
    (r"2\frac{1}{3}", r"\frac{7}{3}", True),
    (r"2\frac{1}{3}", r"\frac{2}{3}", False),
    ("11/2", "1 1/2", False),
    (r"\frac{10{,}000}{3}", "10000/3", True),
    (r"\frac{1}{0}", "0", False),
    (r"\frac{\pi}{2}", r"\pi/2", True),
    (r"\frac{x}{2}", r"\frac{1}{2}x", True),
    (r"\frac{x}{2}", r"\frac{2}{x}", False),
    (r"{1 \over 2}", r"\frac12", True),
    (r"\cfrac{3}{4}", "0.75", True),
]
SCIENTIFIC = [
    (r"1.2\times10^3", "1200", True),
    (r"1.2 \times 10^{3}", "1200", True),
    (r"1.2\cdot 10^{3}", "1200", True),
    ("1.2e3", "1200", True),
    ("1.2 x 10^3", "1200", True),
    (r"3 \times 10^{-4}", "0.0003", True),
    (r"3 \times 10^{-4}", "0.003", False),
    (r"2\times 10^{-9}", r"5\times 10^{-9}", False),
    ("0.0000001", "0.0000002", False),
    ("6.02e23", r"6.02 \times 10^{23}", True),
    (r"\frac{1}{2^{100}}", r"\frac{1}{3^{100}}", False),
    (r"2^{-100}", r"\frac{1}{2^{100}}", True),
    (r"e^{-50}", "0", False),
]
PERCENT_AND_UNITS = [
    (r"50\%", "50", True),
    ("50%", r"50\%", True),
    ("50", r"50\%", True),
    ("0.5", r"50\%", True),
    (r"50\%", r"\frac{1}{2}", True),
    (r"50\%", "0.05", False),
    (r"5\%", r"50\%", False),
    ("50 percent", r"50\%", True),
    (r"33\frac{1}{3}\%", r"\frac{1}{3}", True),
    (r"\$5", "5", True),
    ("$5", r"\$5", True),
    (r"\$18.90", "18.90", True),
    ("5 dollars", r"\$5", True),
    ("5 cm", "5", True),
    ("5cm", r"5\text{ cm}", True),
    (r"5\text{ cm}", "5", True),
    (r"5\,\mathrm{cm}", r"5 \text{ cm}", True),
    (r"5\text{ cm}", r"5\text{ m}", False),
    (r"5\text{ centimeters}", "5 cm", True),
    (r"12\text{ cm}^2", "12", True),
    (r"12\text{ cm}^2", r"12\text{ cm}^3", False),
    (r"12\text{ square centimeters}", r"12\text{ cm}^2", True),
    (r"6\text{ cm}", "5", False),
    ("3 hours", "3", True),
    (r"10\text{ mph}", r"10 \text{ miles per hour}", True),
    (r"90^\circ", "90", True),
    (r"90^{\circ}", r"90^\circ", True),
    ("90 degrees", r"90^\circ", True),
    ("90\u00b0", "90", True),
    (r"45^\circ", r"90^\circ", False),
    (r"\frac{3}{2}\text{ units}", "1.5", True),
    (r"4\sqrt{2}\text{ inches}", r"4\sqrt{2}", True),
    ("5 apples", "5", True),
    (r"5 \text{ million}", "5000000", True),
    ("2 dozen", "24", True),
    ("2x", "2", False),
    ("2m", "2", False),
    ("5 x", "5", False),
]
RADICALS_AND_CONSTANTS = [
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    (r"\sqrt 8", r"2\sqrt2", True),
    ("\u221a8", r"2\sqrt{2}", True),
    (r"\sqrt{8}", r"\sqrt{2}", False),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True),
    (r"\sqrt[3]{8}", "2", True),
    (r"\sqrt[3]{16}", r"2\sqrt[3]{2}", True),
    (r"8^{1/3}", "2", True),
    (r"\sqrt{4}", "2", True),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}", True),
    (r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}", True),
    (r"\frac{1+\sqrt{5}}{2}", r"\frac{\sqrt{5}+1}{2}", True),
    (r"\frac{1-\sqrt{5}}{2}", r"\frac{1+\sqrt{5}}{2}", False),
    (r"\frac{2}{\sqrt{3}-1}", r"\sqrt{3}+1", True),
    (r"\sqrt{2}", "1.41421356", False),
    (r"1.414", r"\sqrt{2}", False),
    (r"\pi", "3.14", False),
    ("3.14159", r"\pi", False),
    ("\u03c0", r"\pi", True),
    (r"2\pi", r"\pi \cdot 2", True),
    (r"4\pi r^2", r"4 r^2 \pi", True),
    (r"\frac{\pi}{3}", r"\frac{\pi}{6}", False),
    ("e^2", r"e^{2}", True),
    (r"\mathrm{e}^{2}", "e^2", True),
    (r"\ln 2", r"\ln(2)", True),
    (r"\ln 4", r"2\ln 2", True),
    (r"\ln 4", r"\ln 2", False),
    (r"\log_2 8", "3", True),
    (r"\log_{10} 1000", "3", True),
    (r"\log_2 3", r"\frac{\ln 3}{\ln 2}", True),
    (r"\sin 30^\circ", r"\frac{1}{2}", True),
    (r"\cos\frac{\pi}{3}", r"\frac12", True),
    (r"\arctan 1", r"\frac{\pi}{4}", True),
]
EXPRESSIONS = [
    ("x+1", "1+x", True),
    ("x + 1", "x+1", True),
    ("(x+1)^2", "x^2+2x+1", True),
    ("(x-1)(x+1)", "x^2-1", True),
    ("x^2+1", "x^2-1", False),
    ("2(x+y)", "2x+2y", True),
    (r"\frac{x^2-1}{x-1}", "x+1", True),
    ("ab", "ba", True),
    ("x", "y", False),
    ("2^{n+1}-2", r"2\left(2^n-1\right)", True),
    (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", True),
    (r"\frac{n(n+1)}{2}", r"\frac{n(n-1)}{2}", False),
    (r"\left(\frac{1}{2}\right)^n", r"2^{-n}", True),
    (r"x^{\frac{1}{2}}", r"\sqrt{x}", True),
    (r"\sin^2 x + \cos^2 x", "1", True),
    (r"2\sin x\cos x", r"\sin 2x", True),
    ("|x|", r"\left|x\right|", True),
    ("x_1+x_2", "x_2+x_1", True),
    (r"\frac{a}{b}+\frac{c}{d}", r"\frac{ad+bc}{bd}", True),
    (r"\alpha+\beta", r"\beta+\alpha", True),
    ("n", "N", False),
    ("R-r", "0", False),
    ("R-r", "-r+R", True),
    (r"x\cdot 3^{-50}", r"x\cdot 2^{-50}", False),
    (r"2\sin x\cos x", r"\sin(2x)", True),
]
EQUATIONS = [
    ("x=3", "3", True),
    ("x = 3", "x=3", True),
    ("3", "x=3", True),
    ("x=4", "3", False),
    ("y=3", "x=3", False),
    ("3=x", "x=3", True),
    (r"f(x)=x^2", "x^2", True),
    (r"\theta = 30^\circ", r"30^\circ", True),
    ("y=2x+1", "y=1+2x", True),
    ("y=2x+1", "2x-y+1=0", True),
    ("y=2x+1", "y=2x-1", False),
    ("2x+3y=6", "4x+6y=12", True),
    ("x^2+y^2=4", "y^2+x^2=4", True),
    ("x>2", "x > 2", True),
    ("2<x", "x>2", True),
    (r"x \geq 2", r"x\ge2", True),
    ("x>2", r"x\ge 2", False),
    ("x<2", "x>2", False),
    (r"1<x\le 2", r"1 < x \leq 2", True),
]
INTERVALS = [
    ("(1,2)", "(1, 2)", True),
    ("(1,2)", "(1,2]", False),
    ("[1,2]", "(1,2)", False),
    (r"\left[1,2\right)", "[1,2)", True),
    (r"(-\infty, 3)", r"(-\infty,3)", True),
    ("(-\u221e,3)", r"(-\infty,3)", True),
    (r"(-\infty, 3]", r"(-\infty,3)", False),
    (r"(-\infty,1)\cup(2,\infty)", r"(2,\infty) \cup (-\infty,1)", True),
    (r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1]\cup[2,\infty)", False),
    (r"[0.5,1]", r"\left[\frac{1}{2},1\right]", True),
    (r"x>2", r"(2,\infty)", True),
    (r"(2,\infty)", r"x>2", True),
    (r"x\ge 2", r"(2,\infty)", False),
    (r"1\le x\le 2", "[1,2]", True),
    (r"\mathbb{R}", r"(-\infty,\infty)", True),
    (r"x\in[1,2]", "[1,2]", True),
]
LISTS = [
    (r"\{1,2,3\}", r"\{3,2,1\}", True),
    (r"\left\{1,2\right\}", r"\{1,2\}", True),
    (r"\{1,2\}", r"\{1,2,3\}", False),
    (r"\{1,1,2\}", r"\{1,2\}", True),
    ("1,2", "2,1", True),
    ("1, 2", "1,2", True),
    ("1,2", "1,3", False),
    ("1,2,3", "1,2", False),
    ("1", "1,2", False),
    ("1 and 2", "1,2", True),
    (r"1 \text{ and } 2", "2, 1", True),
    (r"x=1 \text{ or } x=2", "1,2", True),
    ("x=1,2", "1,2", True),
    (r"\{1,2\}", "1,2", True),
    ("-1, 1", r"\pm 1", True),
    (r"\pm 1", "1", False),
    (r"2\pm\sqrt{3}", r"2+\sqrt{3}, 2-\sqrt{3}", True),
    (r"\frac{1\pm\sqrt{5}}{2}", r"\frac{1+\sqrt5}{2},\frac{1-\sqrt5}{2}", True),
    ("(1,2)", r"\left(1,2\right)", True),
    ("(1,2)", "(2,1)", False),
    ("(1,2,3)", "(1,2,3)", True),
    ("(1,2,3)", "(3,2,1)", False),
    (r"(\frac12, 3)", "(0.5,3)", True),
    ("(1,2),(3,4)", "(3,4),(1,2)", True),
    ("(1,2),(3,4)", "(1,2),(4,3)", False),
    (r"(0,\frac{\pi}{2})", r"\left(0,\frac{\pi}{2}\right)", True),
    (r"\emptyset", r"\varnothing", True),
    (r"\{\}", r"\emptyset", True),
    (r"\{0\}", r"\emptyset", False),
    (r"\{\pm 1\}", r"\{1,-1\}", True),
    (r"\pm 1, \pm 2", "1,2,-1,-2", True),
    (r"\frac{1}{2}(1\pm\sqrt 5)", r"\frac{1\pm\sqrt{5}}{2}", True),
    (r"\frac{1}{2}(1\pm\sqrt 5)", r"\frac{1}{2}", False),
    (r"1,2,\ldots,10", "1,2,10", False),
    (r"1,2,\ldots,10", r"1, 2, \ldots, 10", True),
    (r"\{2^{-100}\}", r"\{3^{-100}\}", False),
    ("10, 20", "1020", False),
]
MATRICES_AND_COMPLEX = [
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
    (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", False),
    (r"\begin{pmatrix}0.5\\1\end{pmatrix}", r"\begin{pmatrix}1/2\\1\end{pmatrix}", True),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}", False),
    ("1+i", "i+1", True),
    ("1+2i", "1-2i", False),
    ("(1+i)^2", "2i", True),
    (r"\frac{1}{i}", "-i", True),
    (r"e^{i\pi}", "-1", True),
    ("3i", "3", False),
    ("i^2", "-1", True),
    ("-1", "i", False),
    (r"\sqrt{-4}", "2i", True),
    ("2+3i, 2-3i", r"2\pm 3i", True),
    (r"2e^{i\pi/3}", r"1+i\sqrt{3}", True),
]
WORDS = [
    ("Tuesday", r"\text{Tuesday}", True),
    (r"\text{tuesday}", "Tuesday", True),
    (r"\textbf{Tuesday}", "Tuesday", True),
    ("Monday", "Tuesday", False),
    ("yadseuT", "Tuesday", False),
    ("A", "A", True),
    ("(A)", "A", True),
    (r"\text{(A)}", "A", True),
    (r"\textbf{(A)}", r"\text{A}", True),
    ("A.", "A", True),
    ("B", "A", False),
    ("yes", r"\text{Yes}", True),
    ("no", r"\text{Yes}", False),
    (r"\text{no solution}", "No solution", True),
    (r"\text{Evelyn}", "Evelyn", True),
    ("east", "west", False),
    (r"\text{even}", r"\text{odd}", False),
    ("It is 5", "5", False),
]
MORE = [
    ("90^\\circ", r"\frac{\pi}{2}", True),
    (r"\frac{\pi}{2}", r"90^\circ", True),
    (r"\frac{\pi}{3}", r"90^\circ", False),
    (r"\log 100", "2", True),
    (r"x^2+C", "x^2", False),
    (r"\langle 1,2\rangle", "(1,2)", True),
    (r"\{x \mid x>2\}", r"(2,\infty)", True),
    (r"x\neq 2", r"\mathbb{R}\setminus\{2\}", True),
    (r"(-\infty,2)\cup(2,\infty)", r"x \ne 2", True),
    ("x=1, y=2", "y=2, x=1", True),
    ("(2,1)", "1,2", False),
    ("(1,2)", "1,2", True),
    (r"\{2,3\}", "(2,3)", False),
    (r"\{2,3\}", "[2,3]", False),
    ("[2,3]", "2,3", False),
    ("1:2", r"\frac12", True),
    ("2:4", "1:2", True),
    ("1:2", "2:1", False),
    (r"1+\sqrt{2}i", r"1+i\sqrt2", True),
    (r"x \in \{2,3\}", "2,3", True),
    (r"\sqrt{x^2}", "x", False),
    (r"\sqrt{x^2}", "|x|", True),
    ("a^{m+n}", "a^m a^n", True),
    (r"\frac{\sin x}{\cos x}", r"\tan x", True),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True),
    ("n!", "n(n-1)!", True),
    ("F_{10}", "55", False),
    (r"\lfloor 3.7\rfloor", "3", True),
    (r"\lceil 3.2 \rceil", "4", True),
    (r"\gcd(4,6)", "2", True),
    (r"\sum_{k=1}^{10}k", "55", True),
    (r"\lim_{n\to\infty}\frac1n", "0", True),
    (r"0.75=\frac{3}{4}", "0.75", True),
    ("2+3=5", "5", True),
    ("6=5", "5", False),
    (r"\text{all real numbers}", r"\mathbb{R}", True),
    (r"\text{no solution}", r"\emptyset", True),
    ("(0,0),(1,1)", r"\{(0,0),(1,1)\}", True),
    ("(5)", "5", True),
    ("5+", "5", False),
    ("5/", "5", False),
    ("0x5", "5", False),
    ("2^{3^2}", "512", True),
    ("2^{3^2}", "64", False),
    ("-2^2", "-4", True),
    ("(-2)^2", "4", True),
    (r"\sqrt{16}", "-4", False),
    (r"\frac{0}{0}", "0", False),
    ("a/b/c", r"\frac{a}{bc}", True),
    (r"\pi r^2", r"\pi R^2", False),
    (r"12\frac{1}{2}\%", "0.125", True),
    (r"10\%, 20\%", "10,20", True),
    (r"10\%, 20\%", "0.1,0.2", True),
    (r"10\%, 20\%", "0.1,0.3", False),
    (r"6\sqrt{2}\text{ cm}", r"6\sqrt2\text{ m}", False),
    ("(-1)^{2n}", "1", True),
    (r"\frac{n!}{(n-1)!}", "n", True),
    (r"\int_0^1 x\,dx", r"\frac12", True),
    (r"5\mod 3", "2", True),
    (r"-\infty<x<\infty", r"\mathbb{R}", True),
]
ODD = [
    ("", "5", False),
    (" ", "5", False),
    (r"\boxed{5}", "5", True),
    ("{5}", "5", True),
    (r"\text{5}", "5", True),
    (r"\boxed{\frac{1}{2}}", "0.5", True),
    ("5!", "5", False),
    ("?", "5", False),
    ("5 or 6", "5", False),
    (r"\approx 5", "5", False),
    (r"\frac{1}{2} \langle", r"\frac{1}{2}", False),
    (r"\frac{1}{2} \text{ or } \frac{1}{3}", r"\frac{1}{2}", False),
    ("5)", "5", False),
    ("5 & 6", "5", False),
    ("5 # 6", "5", False),
    ("5 \\\\ 6", "5", False),
    (r"5 \neq 6", "5", False),
    ("answer: 5", "5", False),
    ("1010_2", "1010", True),
    ("1010_{2}", "1010_2", True),
    ("1010_3", "1010_2", False),
    ("not 5", "5", False),
    (r"\frac{", "5", False),
    ("}{", "5", False),
    ("\\", "5", False),
    ("NaN", "5", False),
    (r"\infty", "5", False),
    (r"\infty", r"\infty", True),
    (r"-\infty", r"\infty", False),
    ("9^{9^{9^{9}}}", "5", False),
    ("9^9^9^9", "5", False),
    ("((9!)!)!", "5", False),
    ("9!!!!!!!!", "5", False),
    ("9^{999999999}", "5", False),
    ("1" * 999, "5", False),
    ("1" * 2_000_000, "5", False),
    ("{" * 4 + "5" + "}" * 4, "5", True),
    ("{" * 400 + "5" + "}" * 400, "5", False),
    ("(" * 400 + "5" + ")" * 400, "5", False),
    (r"\frac{1}{" * 60 + "1" + "}" * 60, "5", False),
    ("\x00" + "5", "5", False),
    ("5; import os", "5", False),
    ("__import__('os').system('true')", "5", False),
    (r"\input{/etc/passwd}", "5", False),
]
TABLES = [
    *NUMBERS,
    *FRACTIONS,
    *SCIENTIFIC,
    *PERCENT_AND_UNITS,
    *RADICALS_AND_CONSTANTS,
    *EXPRESSIONS,
    *EQUATIONS,
    *INTERVALS,
    *LISTS,
    *MATRICES_AND_COMPLEX,
    *WORDS,
    *MORE,
    *ODD,
]
DISAGREEMENTS = [
    ("x^2+C", "x^2+c", True, "a constant of integration may have any name; letters are letters here"),
    (r"k\pi", r"n\pi", True, "likewise the number that counts solutions"),
    (r"k\pi, k\in\mathbb{Z}", r"k\pi", True, "what is said of a letter is not read"),
    ("f(x)=2x", "y=2x", True, "two names of one function are two"),
    ("two", "2", True, "numbers in words are words"),
    (r"\text{The answer is }5", "5", True, "words before a number are not left out: they may take it back"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)", True, "a column is not a pair to the library"),
    (r"100\text{ cm}", r"1\text{ m}", True, "units are not converted"),
    (r"60\text{ min}", r"1\text{ hour}", True, "likewise"),
    (r"\$5.00", r"500\text{ cents}", True, "likewise"),
    ("C_{5}^{2}", "10", True, "the grammar reads a letter with an index and a power"),
    ("P(5,2)", "20", True, "a function that nobody defined"),
    ("1 000", "1000", True, "a space does not group digits: it may part two numbers"),
    ("1/2x", r"\frac{x}{2}", True, "ambiguous; the grammar reads 1/(2x)"),
    ("[5]", "5", False, "the grammar reads brackets around one number as round ones"),
    ("I", "i", False, "the grammar reads both as the imaginary unit"),
    (
        r"\log 100",
        r"\ln 100",
        True,
        "log without a base is that of 10 to the grammar; to many a mathematician it is ln",
    ),
]
"""Verdicts that differ from ours, and why: to know them, not to praise them."""


@pytest.fixture(scope="module")
def judge():
    """One for all tables, with one process: it is what takes time to start."""
    one = MathJudge(workers=1)
    yield one
    asyncio.run(one.close())


def verdict(judge, answer, key):
    score = asyncio.run(judge.judge(answer, key))
    assert score.reward is not None, score.reason
    return score.reward == 1.0


def test_there_are_enough_pairs_and_none_twice():
    pairs = [pair[:2] for pair in (*TABLES, *DISAGREEMENTS)]
    assert len(pairs) >= 400
    assert len({*pairs}) == len(pairs)


@pytest.mark.parametrize(("answer", "key", "right"), TABLES, ids=lambda value: str(value)[:30])
def test_answers_are_judged_as_a_mathematician_would(judge, answer, key, right):
    assert verdict(judge, answer, key) is right


@pytest.mark.parametrize(("answer", "key", "right", "why"), DISAGREEMENTS, ids=lambda value: str(value)[:30])
def test_the_known_disagreements_are_still_those(judge, answer, key, right, why):
    assert why
    assert verdict(judge, answer, key) is not right


def test_every_key_is_a_right_answer_to_itself(judge):
    for key in {key for _, key, _ in TABLES}:
        assert verdict(judge, key, key), key


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,204.5", Fraction(12045, 10)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"-2\frac{3}{4}", Fraction(-11, 4)),
        (r"\frac34", Fraction(3, 4)),
        ("7/3", Fraction(7, 3)),
        ("2 1/4", Fraction(9, 4)),
        (r"3.5\times10^{-2}", Fraction(35, 1000)),
        ("1e3", Fraction(1000)),
        (r"0.1\overline{23}", Fraction(122, 990)),
        (r"1.\overline{9}", Fraction(2)),
        ("1/0", None),
        ("1,2", None),
        ("1e9999", None),
        ("x", None),
        ("", None),
    ],
)
def test_plain_numbers_are_read_exactly(text, value):
    assert number(clean(text)) == value


def test_most_answers_never_reach_a_process():
    wanted = {("17", "42"), (r"\dfrac{1}{2}", "0.5"), (r"5\text{ cm}", "5"), ("Monday", "Tuesday"), ("x=3", "4")}
    assert all(settled(answer, key) is not None for answer, key in wanted)
    assert settled(r"\sqrt{8}", r"2\sqrt{2}") is None


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^{9}}}",
        "9^9^9^9",
        "9^(9^(9^(9)))",
        "((9!)!)!",
        "9!!!",
        "(" * 31 + ")" * 31,
        "1" * 1001,
        "9^{1000000}",
        "a__b",
    ],
)
def test_bombs_are_known_by_their_text_alone(text):
    assert unfit(text)


@pytest.mark.parametrize(
    "text", ["x^2y^2z^2w^2", "2^{3^2}", "e^{-x^2}", "5!", "10!/5!", "n!(n-1)!", "x^{10000}", r"2^{2019}"]
)
def test_ordinary_powers_and_factorials_are_no_bombs(text):
    assert not unfit(text)


@pytest.mark.parametrize(
    "piece",
    [
        "{", "(", " ", "5 ", "a ", "5a", r"\text{", "x=", "1,", "1", "^", "!", r"\frac{", r"\pm", "5^{", "}", r"\{",
        ". ", "%", r"\sin5^\circ", "\ud800", r"\, ", "1,000", r"\boxed{", "=1", "5 cm ", r"\pm 1,", "(1,", r"\{x|",
        "_1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["5", "1" + ",1" * 300, "{" * 300])
def test_no_text_takes_long_or_raises_before_it_is_sent_anywhere(piece, key):
    closing = {"{": "}", "(": ")"}.get(piece[-1], "")
    began = time.perf_counter()
    for count in (10, 100, 300, 990, 200_000):
        for text in (piece * count, "5" + piece * count + "x", piece * count + "5" + closing * count):
            if settled(text, key) is None:
                _question(text, key, 0.0)
    assert time.perf_counter() - began < 3.0


def test_a_tower_is_right_where_the_key_is_that_tower():
    assert settled("9^{9^{9^{9}}}", "9^{9^{9^{9}}}").reward == 1.0


HEDGES = [
    "0=0", "x=x", "y=y", "x", "y", "x,x", "5,6", r"\{5,6\}", "1,2,3,4,5", "[0,10]", r"\mathbb{R}", r"(-\infty,\infty)",
    r"\frac{0}{0}", r"\infty-\infty", r"x\in\mathbb{R}", "x=5,6,7", r"5\text{ or six}", "5 or six", r"5 \ne", "nan",
    "oo", r"\text{any}", "x<y", r"x\ne y", r"x=1 \text{ or } x\ne 1", r"x>2 \text{ or } x\le 2", "0x+0y=0", "()",
    "10^{-400}",
]  # fmt: skip


@pytest.mark.parametrize("key", ["5", r"\sqrt{2}", "x=5", "2x+3y=6", "x>2", r"(2,\infty)", "1,2", "(1,2)", "n(n+1)/2"])
def test_saying_everything_or_nothing_is_never_right(judge, key):
    for answer in HEDGES:
        assert not verdict(judge, answer, key), answer


HOSTILE = [
    "__import__('os').system('touch {file}')",
    "eval(open('{file}','w'))",
    r"\text{{__import__('os').system('touch {file}')}}",
    r"\operatorname{{__import__('os').system('touch {file}')}}(1)",
    r"\mathrm{{exec}}(open('{file}','w'))",
    r"\frac{{open('{file}','w')}}{{2}}",
    "(lambda: open('{file}','w'))()",
    "[x for x in (1).__class__.__base__.__subclasses__()]",
    "1 if open('{file}','w') else 2",
    r"\{{open('{file}','w')\}}",
    r"\immediate\write18{{touch {file}}}",
    r"\input{{|touch {file}}}",
    "`touch {file}`",
    "$(touch {file})",
    r"\sqrt[open('{file}','w')]{{2}}",
    r"x_{{open('{file}','w')}}",
    "Symbol('x');open('{file}','w')",
]


def compare_directly(questions, seconds=5, memory=2048):
    """What the process says, past everything that is checked before it is asked."""
    lines = "".join(json.dumps({"tolerance": 0.0, "places": None, **question}) + "\n" for question in questions)
    command = [sys.executable, "-P", judge_module._PROGRAM, str(seconds), str(memory)]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def test_hostile_text_runs_nothing_even_in_the_process_that_reads_it(tmp_path):
    file = tmp_path / "marker"
    texts = [text.format(file=file) for text in HOSTILE]
    questions = [{"answer": text, "key": "5"} for text in texts] + [{"answer": "5", "key": text} for text in texts]
    facts, status = compare_directly(questions)
    assert status == 0
    verdicts = [fact["right"] for fact in facts if "right" in fact]
    assert verdicts == [False] * len(questions)
    assert not file.exists()


def test_what_sympy_would_evaluate_is_refused_in_the_process(tmp_path):
    """The guard itself: text given straight to sympy's reader, and to eval, exec and the shell."""
    file = tmp_path / "marker"
    attempts = [
        f"import sympy; sympy.sympify(\"open('{file}', 'w')\")",
        f"eval(\"open('{file}', 'w')\")",
        f"exec(\"open('{file}', 'w')\")",
        f"open('{file}', 'w')",
        f"import os; os.system('touch {file}')",
        f"import subprocess; subprocess.run(['touch', '{file}'])",
        "import socket; socket.socket()",
        "import sympy; sympy.lambdify(sympy.Symbol('x'), sympy.Symbol('x'))",
    ]
    for attempt in attempts:
        program = (
            f"import runpy, sys\nmade = compile({attempt!r}, {str(tmp_path / 'code.py')!r}, 'exec')\n"
            f"worker = runpy.run_path({str(judge_module._PROGRAM)!r}, run_name='worker')\n"
            "worker['_warm_up'](); sys.addaudithook(worker['_guard'])\n"
            "try:\n    exec(made)\nexcept Exception as error:\n    print(type(error).__name__)\n"
        )
        script = tmp_path / "attempt.py"
        script.write_text(program)
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() in ("RuntimeError", "SympifyError"), (attempt, done.stdout, done.stderr[-500:])
        assert not file.exists(), attempt


def test_an_answer_that_takes_too_long_is_wrong_and_says_so():
    async def judged():
        async with MathJudge(workers=1, seconds=1.0) as judge:
            bomb = await judge.judge(r"\sum_{k=1}^{10^8}\lfloor\sin k\rfloor", "5")
            after = await judge.judge(r"\sqrt{8}", r"2\sqrt{2}")
            return bomb, after, judge.numbers()

    bomb, after, numbers = asyncio.run(judged())
    assert bomb.reward == 0.0
    assert "processor time" in bomb.reason
    assert after.reward == 1.0
    assert numbers["mathematics/cut_short"] == 1.0


def test_a_key_that_takes_too_long_is_not_the_answers_fault():
    async def judged():
        async with MathJudge(workers=1, seconds=0.3) as judge:
            return await judge.judge("5", r"\operatorname{eye}(3000)\cdot\operatorname{eye}(3000)\cdot 2")

    score = asyncio.run(judged())
    assert score.reward is None
    assert "key" in score.reason


def test_memory_is_bounded_and_the_process_survives_what_asks_for_more():
    async def judged():
        async with MathJudge(workers=1, seconds=20.0, memory=600) as judge:
            scores = [await judge.judge(text, "5") for text in ("2^{2^{40}}", r"\operatorname{zeros}(99999,99999)")]
            (process,) = judge._pool.processes()
            limits = Path(f"/proc/{process}/limits").read_text()
            return [*scores, await judge.judge(r"\sqrt{8}", r"2\sqrt{2}")], limits

    scores, limits = asyncio.run(judged())
    assert [score.reward for score in scores] == [0.0, 0.0, 1.0]
    address_space = next(line for line in limits.splitlines() if line.startswith("Max address space"))
    assert str(600 * 2**20) in address_space


def test_a_tolerance_is_for_numbers_only():
    async def judged():
        async with MathJudge(workers=1, tolerance=0.01) as judge:
            pairs = [("4.69", "4.67"), ("4.8", "4.67"), ("1.414", r"\sqrt{2}"), ("1.5", r"\sqrt{2}"), ("x", "1.01x")]
            return [(await judge.judge(*pair)).reward for pair in pairs]

    assert asyncio.run(judged()) == [1.0, 0.0, 1.0, 0.0, 0.0]
