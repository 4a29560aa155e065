"""Names of units and of scales, words that are no units, and words that exclude each other."""

import re
from fractions import Fraction
from typing import Final

_NAMES: Final = {
    "nm": "nanometer nanometers nanometre nanometres",
    "um": "micrometer micrometers micrometre micrometres micron microns",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "dm": "decimeter decimeters decimetre decimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
    "acre": "acres",
    "ha": "hectare hectares",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kilo kilos",
    "ton": "tons tonne tonnes",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters millilitre millilitres",
    "l": "liter liters litre litres",
    "gal": "gallon gallons",
    "quart": "quarts",
    "pint": "pints",
    "cup": "cups",
    "ms": "millisecond milliseconds",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "deg": r"degs degree degrees ^\circ",
    "rad": "radian radians",
    "dollar": "dollars usd buck bucks",
    "cent": "cents",
    "euro": "euros eur",
    "yen": "",
    "yuan": "",
    "rupee": "rupees",
    "penny": "pennies pence",
    "newton": "newtons",
    "joule": "joules",
    "kj": "kilojoule kilojoules",
    "watt": "watts",
    "kw": "kilowatt kilowatts",
    "volt": "volts",
    "ampere": "amperes amp amps",
    "ohm": "ohms",
    "hz": "hertz",
    "pascal": "pascals",
    "kelvin": "kelvins",
    "mol": "mole moles",
    "calorie": "calories cal",
    "kcal": "kilocalorie kilocalories",
}
_SYMBOLS: Final = {
    "J": "joule", "kJ": "kj", "N": "newton", "W": "watt", "kW": "kw", "MW": "megawatt", "mW": "milliwatt",
    "V": "volt", "kV": "kilovolt", "mV": "millivolt", "A": "ampere", "mA": "milliampere", "K": "kelvin",
    "Pa": "pascal", "kPa": "kilopascal", "MPa": "megapascal", "kHz": "kilohertz", "MHz": "megahertz",
    "eV": "ev", "keV": "kev", "MeV": "mev", "MJ": "megajoule", "kN": "kilonewton", "KB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "Mm": "megameter", "C": "deg C", "F": "deg F",
}  # fmt: skip
"""Symbols in which capitals count."""
_SHORT: Final = {"mph": "h^-1 mi", "kmh": "h^-1 km", "kph": "h^-1 km", "mpg": "gal^-1 mi", "sqft": "ft^2", "cc": "cm^3"}
_CELSIUS: Final = {"c": "deg C", "celsius": "deg C", "f": "deg F", "fahrenheit": "deg F"}
_MONEY: Final = frozenset(("dollar", "cent", "euro", "yen", "yuan", "rupee", "penny", "lb"))
UNITS: Final = {
    spelling: name for name, spellings in _NAMES.items() for spelling in (name, *spellings.split())
} | _SHORT
"""By how it is written, in lower case, the one name of a unit."""
SCALES: Final = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_MONTHS: Final = (
    "january february march april may june july august september october november december jan feb mar apr jun jul aug"
    " sep sept oct nov dec"
)
MONTHS: Final = frozenset(_MONTHS.split())
_WEEKDAYS: Final = "monday tuesday wednesday thursday friday saturday sunday"
WEEKDAYS: Final = frozenset(_WEEKDAYS.split())
_FUNCTIONS: Final = (
    "sqrt sin cos tan cot sec csc log ln exp mod max min gcd lcm arcsin arccos arctan det lim arg dim ker sup inf lg"
)
_WORDS: Final = (
    f"{_FUNCTIONS} pi and or to if for when where not in union percent infinity dx choose over times plus minus base "
    "hundred thousand million billion trillion dozen wrong incorrect"
)
WORDS_OF_MATHEMATICS: Final = frozenset(_WORDS.split()) | MONTHS | WEEKDAYS
"""After a number these mean something, and what means something is not dropped."""
_EXCLUSIVE: Final = (
    MONTHS,
    WEEKDAYS,
    frozenset(("am", "pm")),
    frozenset(("ad", "bc", "bce", "ce")),
    frozenset(("north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest")),
    frozenset(("up", "upward", "upwards", "down", "downward", "downwards")),
    frozenset(("left", "right")),
    frozenset(("clockwise", "counterclockwise", "anticlockwise")),
    frozenset(("increase", "decrease")),
    frozenset(("more", "less", "fewer")),
    frozenset(("profit", "gain", "loss")),
    frozenset(("before", "after")),
    frozenset(("above", "below")),
    frozenset(("even", "odd")),
    frozenset(("positive", "negative")),
)
ABBREVIATIONS: Final = frozenset(("am", "pm", "ad", "bc", "ce", "bce"))
"""Words of two or three letters that stand behind a time or a year."""
_TOKEN: Final = re.compile(r"[A-Za-z]+|\^\\circ|\^-?\d|/")
_POWERS: Final = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_FOR_EACH: Final = frozenset(("per", "a", "an", "each", "every"))


def unit_named(written: str) -> str:
    r"""The one name of a unit, whatever its spelling: `m s^-2` for `m/s^2`; "" if it is not known.

    Words behind a known unit (`5 years old`) are left out, and so is what is not known after `per`.
    """
    found: dict[str, int] = {}
    sign, raised, last = 1, 0, ""
    for token in _TOKEN.findall(written):
        word = token.casefold()
        if token == "/" or (word in _FOR_EACH and found):
            sign, last = -1, ""
        elif token.startswith("^") and token != r"^\circ":
            if last:
                found[last] += sign * (int(token[1:]) - 1)
        elif word in ("square", "sq", "cubic", "cu") and not raised:
            raised = _POWERS[word]
        elif word in ("squared", "cubed") and last:
            found[last] += sign * (_POWERS[word] - 1)
        elif word in _CELSIUS and last == "deg":
            return _CELSIUS[word]
        elif token in _SYMBOLS or word in UNITS:
            name = _SYMBOLS.get(token) or UNITS[word]
            if " " in name or "^" in name:
                return name
            last = name
            found[last] = found.get(last, 0) + sign * (raised or 1)
            raised = 0
        elif word != "of":
            break
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(found.items()) if power)


def other_unit(one: str, other: str) -> bool:
    """True if both are known and not the same; a temperature may leave out its scale, and a price what it is for."""
    if not one or not other or one == other:
        return False
    shorter, longer = sorted((one, other), key=len)
    return not ((shorter == "deg" or shorter in _MONEY) and shorter in longer.split())


def excluded(one: str, other: str) -> bool:
    """True if the words of one say the opposite of those of the other, such as `increase` and `decrease`."""
    left, right = set(_letters(one).split()), set(_letters(other).split())
    return any(left & group and right & group and not left & right & group for group in _EXCLUSIVE)


def _letters(words: str) -> str:
    return re.sub(r"[^a-z ]", "", words.casefold())
