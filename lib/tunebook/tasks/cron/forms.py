"""Numbers as people say them: digits, words, ordinals, hours on the 12-hour clock, names of days and months."""

from collections.abc import Callable
from random import Random

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
ONES += "seventeen eighteen nineteen".split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty"}
ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth".split()
ORDINALS += "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split()
DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
MONTHS = "January February March April May June July August September October November December".split()
SHORT = {"Tuesday": "Tue Tues", "Wednesday": "Wed Weds", "Thursday": "Thu Thurs Thur", "September": "Sep Sept"}


def say(rng: Random, number: int, form: str) -> str:
    """`number` in one of FORMS, or with its digits where `form` is empty.

    >>> [say(Random(0), 17, form) for form in ("", "word", "th", "12", "am")]
    ['17', 'seventeen', '17th', '5', 'pm']
    """
    if form in ("dy", "mon"):
        name = DAYS[number % 7] if form == "dy" else MONTHS[number - 1]
        return rng.choice(SHORT.get(name, name[:3]).split())
    return FORMS[form](number)


def number_word(number: int) -> str:
    """0 to 59 in words: 45 is "forty-five"."""
    tens, ones = number // 10 * 10, number % 10
    return ONES[number] if number < 20 else TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def ordinal_word(number: int) -> str:
    """1 to 31 in words: 21 is "twenty-first"."""
    if number <= 20:
        return ORDINALS[number]
    return "thirtieth" if number == 30 else f"{TENS[number // 10 * 10]}-{ORDINALS[number % 10]}"


def on_12(hour: int) -> int:
    """The hour on the 12-hour clock."""
    return hour % 12 or 12


FORMS: dict[str, Callable[[int], str]] = {
    "": str,
    "02": "{:02d}".format,
    ":02": ":{:02d}".format,
    "word": number_word,
    "th": ordinal,
    "ordinal": ordinal_word,
    "the": lambda day: f"the {ordinal(day)}",
    "day": lambda day: DAYS[day % 7],
    "days": lambda day: DAYS[day % 7] + "s",
    "month": lambda month: MONTHS[month - 1],
    "12": lambda hour: str(on_12(hour)),
    "012": lambda hour: f"{on_12(hour):02d}",
    "12word": lambda hour: number_word(on_12(hour)),
    "next": lambda hour: str(on_12(hour + 1)),
    "nextword": lambda hour: number_word(on_12(hour + 1)),
    "am": lambda hour: "am" if hour < 12 else "pm",
    "AM": lambda hour: "AM" if hour < 12 else "PM",
    "a.m.": lambda hour: "a.m." if hour < 12 else "p.m.",
    "A.M.": lambda hour: "A.M." if hour < 12 else "P.M.",
    "a": lambda hour: "a" if hour < 12 else "p",
    "to": lambda minute: str(60 - minute),
    "toword": lambda minute: number_word(60 - minute),
}
