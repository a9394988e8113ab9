"""When snapshots are due: CloudStack's schedule strings, in a time zone, turned into moments in UTC.

`MM` of every hour, `MM:HH` of every day, `MM:HH:D` of every week (1 is Sunday, 7 Saturday), `MM:HH:D` of
every month (1 to 28).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones


class Interval(IntEnum):
    """How often, as clients know it."""

    hourly = 0
    daily = 1
    weekly = 2
    monthly = 3


#: How many parts each has, behind the minute, and the largest number of the third.
_PARTS = {Interval.hourly: 1, Interval.daily: 2, Interval.weekly: 3, Interval.monthly: 3}
_LAST_DAY = {Interval.weekly: 7, Interval.monthly: 28}
_FORMS = {
    Interval.hourly: "the minute of the hour, as 30",
    Interval.daily: "minute and hour, as 30:02",
    Interval.weekly: "minute, hour and day of the week (1 is Sunday), as 30:02:1",
    Interval.monthly: "minute, hour and day of the month (1 to 28), as 30:02:15",
}


class WrongSchedule(ValueError):
    """A schedule or time zone that makes no sense; the text says what is expected."""


@dataclass(frozen=True)
class Schedule:
    """A schedule that makes sense. `day` is 1 (Sunday) to 7, or 1 to 28; hours and minutes are local ones."""

    interval: Interval
    minute: int
    hour: int
    day: int
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime:
        """The first moment after `moment` at which it is due, in UTC.

        A local time that the start of summer time skips comes that much later; one that its end repeats
        comes once.
        """
        if self.interval is Interval.hourly:
            return self._next_hour(moment)
        day = moment.astimezone(self.zone).date()
        while True:
            due = datetime.combine(day, time(self.hour, self.minute), self.zone).astimezone(UTC)
            if self._has(day) and due > moment:
                return due
            day += timedelta(days=1)

    def _next_hour(self, moment: datetime) -> datetime:
        local = moment.astimezone(self.zone)
        # An hour is an hour in UTC, whatever the clocks on the walls do.
        due = moment.astimezone(UTC) + timedelta(minutes=self.minute - local.minute)
        due = due.replace(second=0, microsecond=0)
        return due if due > moment else due + timedelta(hours=1)

    def _has(self, day: date) -> bool:
        if self.interval is Interval.weekly:
            return day.isoweekday() % 7 + 1 == self.day
        return self.interval is Interval.daily or day.day == self.day


def read_schedule(interval: Interval, text: str, timezone: str) -> Schedule:
    """The schedule of a text. Raises WrongSchedule."""
    if timezone not in _timezones():
        raise WrongSchedule(f"{timezone!r} is no time zone: expected a name as Europe/Berlin, or UTC")
    numbers = (
        [int(part) for part in text.split(":")] if re.fullmatch(r"[0-9]{1,2}(:[0-9]{1,2}){0,2}", text) else []
    )
    minute, hour, day = (*numbers, 0, 0, 0)[:3]
    fits = len(numbers) == _PARTS[interval] and minute < 60 and hour < 24
    if not fits or (interval in _LAST_DAY and not 1 <= day <= _LAST_DAY[interval]):
        raise WrongSchedule(f"{text!r} is no {interval.name} schedule: expected {_FORMS[interval]}")
    return Schedule(interval, minute, hour, day, ZoneInfo(timezone))


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())
