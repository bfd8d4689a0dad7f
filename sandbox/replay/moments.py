"""Clock readings in texts: finding them, reading them, and taking those of a trial's own time out of what is digested.

The formats are those that logs, `ls`, `date`, HTTP and mail write, in UTC, and seconds since the epoch. What a format leaves
out (a year, a day) is taken from a moment near which the text was written.
"""

from __future__ import annotations

import calendar
import re
import time
from typing import NamedTuple

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DAYS = tuple(calendar.day_abbr)
_DAY = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"

DATE = (
    r"(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
    rf"|(?:(?:{_DAY}),? )?\d{{1,2}}[ /](?:{_MONTH})[ /]\d{{4}}[ :]\d\d:\d\d:\d\d"
    rf"|(?:(?:{_DAY}) )?(?:{_MONTH}) [ \d]\d(?:  ?\d{{4}}| \d\d:\d\d(?::\d\d)?(?: UTC)?(?: \d{{4}})?)"
    r"|(?<![\d-])\d{4}-\d\d-\d\d(?![\d-])"
    rf"|(?:(?<![\d-])\d\d-\d\d|(?<!\w)(?:{_DAY})) \d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?(?![\d:])"
    r"|(?<![\d:.])\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?![\d:])"
)
"""Pattern of a date, a time of day, or both."""

EPOCH = r"(?<![\w.])(?:1[6-9]|2[0-3])\d{8}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?(?![\w.])"
"""Pattern of seconds, milliseconds, microseconds or nanoseconds since 1970, from 2020 to 2046."""


class Moment(NamedTuple):
    """Unix seconds, and how exactly they were given."""

    at: float
    resolution: float


def read_date(text: str, near: float) -> Moment | None:
    """What a text that matches `DATE` says; None for a day that does not exist."""
    clock = re.search(r"(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?", text)
    hours, minutes, seconds = ((int(clock[n] or 0)) for n in (1, 2, 3)) if clock else (0, 0, 0)
    resolution = 86400.0 if clock is None else 1.0 if clock[3] else 60.0
    day = _day(text, near)
    if day is None or hours > 23 or minutes > 59:
        return None
    at = float(calendar.timegm((*day, hours, minutes, seconds)))
    if re.search(rf"\d\d-\d\d|{_MONTH}", text):
        yearless = not re.search(r"(?<!\d)\d{4}(?!\d)", text)
        return Moment(at - 86400 * 365 if yearless and at > near + 86400 * 183 else at, resolution)
    days = [at + 86400 * days for days in range(-4, 5)]
    if weekday := re.match(_DAY, text):
        days = [moment for moment in days if time.gmtime(moment).tm_wday == _DAYS.index(weekday.group())]
    return Moment(min(days, key=lambda moment: abs(moment - near)), resolution)


def _day(text: str, near: float) -> tuple[int, int, int] | None:
    start = time.gmtime(near)
    iso = re.search(r"(\d{4})-(\d\d)-(\d\d)", text)
    month = re.search(rf"({_MONTH})", text)
    yearless = re.match(r"(\d\d)-(\d\d) ", text)
    if iso:
        year, number, day = int(iso[1]), int(iso[2]), int(iso[3])
    elif yearless:
        year, number, day = start.tm_year, int(yearless[1]), int(yearless[2])
    elif month:
        said = re.search(r"(?<!\d)(\d{4})(?!\d)", text)
        of_month = re.search(r"(?<![\d:])(\d{1,2})(?![\d:])", text)
        year, number, day = int(said[1]) if said else start.tm_year, _MONTHS[month[1]], int(of_month[1]) if of_month else 0
    else:
        return start.tm_year, start.tm_mon, start.tm_mday
    exists = year >= 1 and 1 <= number <= 12 and 1 <= day <= calendar.monthrange(year, number)[1]
    return (year, number, day) if exists else None


def read_epoch(text: str) -> float | None:
    """What a text that matches `EPOCH` says, in Unix seconds; None for another number."""
    whole, _, fraction = text.partition(".")
    scale = {10: 1, 13: 1e3, 16: 1e6, 19: 1e9}.get(len(whole))
    return None if scale is None or not whole.isdecimal() else int(whole) / scale + float(f"0.{fraction or 0}")


_EITHER = re.compile(f"(?P<epoch>{EPOCH})|(?P<date>{DATE})".encode())
_TIME_OF_DAY = re.compile(r"[\d:.,]+")
_DIGITS = re.compile(rb"\d\d:\d\d|\d{4}-\d\d|\d{10}")


def without_moments(data: bytes, since: float, until: float) -> bytes:
    """`data` with every clock reading between two moments (Unix seconds) replaced by a mark; others stay as they are.

    A time of day without its day counts always, since whether it lies between them depends on when one asks."""
    if _DIGITS.search(data) is None:
        return data

    def mark(match: re.Match[bytes]) -> bytes:
        text = match.group().decode()
        if match.lastgroup == "epoch":
            at = read_epoch(text)
            found = None if at is None else Moment(at, 1.0)
        elif _TIME_OF_DAY.fullmatch(text):
            return b"<clock>"
        else:
            found = read_date(text, until)
        inside = found is not None and since - found.resolution <= found.at <= until + found.resolution
        return b"<clock>" if inside else match.group()

    return _EITHER.sub(mark, data)
