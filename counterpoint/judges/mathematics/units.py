"""Names of units, of scales, and words that are no units."""

from fractions import Fraction
from typing import Final

_NAMES: Final = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters millilitre millilitres",
    "l": "liter liters litre litres",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years",
    "mph": "",
    "km/h": "kmh kph",
    "m/s": "",
    "deg": r"degree degrees ^\circ",
    "rad": "radian radians",
    "dollar": "dollars usd",
    "cent": "cents",
}


def _units() -> dict[str, str]:
    """Every spelling of a unit, and of its square and cube, with the one name that it gets."""
    found = {"miles per hour": "mph", "kilometers per hour": "km/h", "meters per second": "m/s"}
    for name, spellings in _NAMES.items():
        for spelling in (name, *spellings.split()):
            found[spelling] = name
            for power, word, short in (("^2", "square", "sq"), ("^3", "cubic", "cu")):
                found[f"{spelling}{power}"] = f"{name}{power}"
                found[f"{word} {spelling}"] = found[f"{short} {spelling}"] = f"{name}{power}"
    return found


UNITS: Final = _units()
"""By how it is written, in lower case, the one name of a unit."""
SCALES: Final = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_WORDS: Final = (
    "pi sqrt sin cos tan cot sec csc log ln exp and or to mod if for when where not in union percent max min gcd lcm "
    "arcsin arccos arctan inf infinity dx choose over times plus minus base hundred thousand million billion "
    "trillion dozen"
)
WORDS_OF_MATHEMATICS: Final = frozenset(_WORDS.split())
"""After a number these mean something, and what means something is not dropped."""
