"""Time limits as Slurm spells them: sbatch(1), --time."""

from __future__ import annotations

import re

_WITH_DAYS = re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?", re.ASCII)
_WITHOUT = re.compile(r"\d+(?::\d+){0,2}", re.ASCII)
FORMS = 'MINUTES, MINUTES:SECONDS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, in quotes, such as "4:00:00" or "2-00"'


def seconds(text: str) -> int | None:
    """Returns a time limit in seconds; None when it is no time limit, and for an unlimited one."""
    found = _WITH_DAYS.fullmatch(text)
    if found:
        days, hours, minutes, rest = (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not _WITHOUT.fullmatch(text):
        return None
    parts = [int(part) for part in text.split(":")]
    if len(parts) == 1:
        return parts[0] * 60
    if len(parts) == len(("minutes", "seconds")):
        return parts[0] * 60 + parts[1]
    return (parts[0] * 60 + parts[1]) * 60 + parts[2]


def is_unlimited(text: str) -> bool:
    """Whether this asks for no limit."""
    return text.upper() in ("UNLIMITED", "INFINITE")
