"""What a process measured of itself, as it hands it on."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A training, or a part of it.

    Attributes:
      training_s: seconds from the first optimizer step's begin to the last one's end.
      reference_s: of the reference pass; None where it is a part of each step.
      cpu_s: seconds of processors in both; far below threads × time where the machine is busy otherwise.
      losses: of each step, before its update.
      tokens: that are no padding and went through training.
      computed: positions that training computed, padding included, a shared prompt once.
      peak: most bytes that were resident.
      libraries: bytes that were resident before the model was loaded.
      versions: of what trained.
    """

    training_s: float = 0.0
    reference_s: float | None = None
    cpu_s: float = 0.0
    losses: tuple[float, ...] = ()
    tokens: int = 0
    computed: int = 0
    peak: int = 0
    libraries: int = 0
    versions: str = ""

    def save(self, path: Path) -> None:
        """Hands it on."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Reads what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Stopwatch:
    """Adds up the time of parts."""

    def __init__(self) -> None:
        self.seconds = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()
        self.cpu_s -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu_s += time.process_time()


def resident() -> int:
    """Returns the bytes of this process that are in memory."""
    return _status("VmRSS")


def peak() -> int:
    """Returns the most that there were at any time; unlike `ru_maxrss`, without the parent's before the exec."""
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
