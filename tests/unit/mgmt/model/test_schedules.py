"""Schedules of snapshots: what they mean, also when clocks change, and what is refused."""

from datetime import datetime

import pytest

from mgmt.model.schedules import Interval, WrongSchedule, read_schedule

pytestmark = pytest.mark.unit


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("interval", "text", "zone", "after", "due"),
    [
        (Interval.hourly, "30", "UTC", "2026-01-31T12:00:00", "2026-01-31T12:30:00"),
        (Interval.hourly, "30", "UTC", "2026-01-31T12:30:00", "2026-01-31T13:30:00"),
        (Interval.hourly, "0", "UTC", "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
        # Half an hour beside the others.
        (Interval.hourly, "0", "Asia/Kolkata", "2026-01-31T12:00:00", "2026-01-31T12:30:00"),
        (Interval.daily, "15:02", "UTC", "2026-01-31T02:14:59", "2026-01-31T02:15:00"),
        (Interval.daily, "15:02", "UTC", "2026-01-31T02:15:00", "2026-02-01T02:15:00"),
        (Interval.daily, "00:23", "America/Los_Angeles", "2026-01-31T12:00:00", "2026-02-01T07:00:00"),
        # Summer time: the same hour on the wall is another one in UTC, and 02:30 does not exist that day.
        (Interval.daily, "30:03", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-29T01:30:00"),
        (Interval.daily, "30:02", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-29T01:30:00"),
        # Its end: 02:30 is twice that day, and counts once.
        (Interval.daily, "30:02", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        (Interval.daily, "30:02", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        # 31 January 2026 is a Saturday; 1 is Sunday.
        (Interval.weekly, "00:12:1", "UTC", "2026-01-31T12:00:00", "2026-02-01T12:00:00"),
        (Interval.weekly, "00:12:7", "UTC", "2026-01-31T12:00:00", "2026-02-07T12:00:00"),
        (Interval.monthly, "00:00:28", "UTC", "2026-01-31T12:00:00", "2026-02-28T00:00:00"),
        (Interval.monthly, "00:00:1", "UTC", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_the_next_moment(interval: Interval, text: str, zone: str, after: str, due: str) -> None:
    assert read_schedule(interval, text, zone).next_after(at(after)) == at(due)


@pytest.mark.parametrize(
    ("interval", "text", "zone"),
    [
        (Interval.hourly, "60", "UTC"),
        (Interval.hourly, "1:1", "UTC"),
        (Interval.daily, "1", "UTC"),
        (Interval.daily, "00:24", "UTC"),
        (Interval.weekly, "00:00:0", "UTC"),
        (Interval.weekly, "00:00:8", "UTC"),
        (Interval.monthly, "00:00:29", "UTC"),
        (Interval.monthly, "00:00:-1", "UTC"),
        (Interval.daily, "", "UTC"),
        (Interval.daily, "00:00\n", "UTC"),
        (Interval.daily, "٣٠:٠٢", "UTC"),
        (Interval.daily, "00:00", "../../etc/passwd"),
        (Interval.daily, "00:00", ""),
    ],
)
def test_what_makes_no_sense_is_refused(interval: Interval, text: str, zone: str) -> None:
    with pytest.raises(WrongSchedule, match="expected"):
        read_schedule(interval, text, zone)
