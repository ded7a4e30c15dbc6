"""What every approval has in common, whoever signed it."""

from datetime import datetime, timedelta

SCHEMA = 1
#: How long an approval may be used for a promotion, unless it says otherwise.
LIVES = timedelta(days=30)


def stamp(time: datetime) -> str:
    """Return a time as documents have it."""
    return time.isoformat(timespec="seconds")
