"""A CreateTrainingJob request as its rules look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from smtrain.plugin import Json, Problem, warning

Path = tuple[str | int, ...]
"""Where in the request: names of members, keys of maps, indices of lists."""


_LONG_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the rules must know of an instance type.

    Attributes:
      efa: whether it has Elastic Fabric Adapter.
      nvme_gib: local disks, all together; 0 means that it has a volume of EBS and nothing else.
    """

    efa: bool
    nvme_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request, what is known besides, and the problems of it.

    A member that is absent and one of another type read alike: what the service's own model says of the request is
    reported apart from this, by `smtrain.api_limits`.

    Attributes:
      request: the request as JSON.
      key_of: from a place in the request to the configuration key to report; "" for none.
      machines: the instance types that figures are known of.
      uploads_checkpoints: whether the program itself keeps its checkpoints in S3 and resumes from them.
      calls_out: what inside the container needs the network, e.g. "copying the model from S3"; "" when nothing does.
    """

    request: Mapping[str, Json]
    key_of: Callable[[Path], str]
    machines: Mapping[str, Machine] = field(default_factory=dict)
    uploads_checkpoints: bool = False
    calls_out: str = ""

    def at(self, *path: str | int) -> Json:
        """Returns what is there; None when nothing is."""
        found: Json = dict(self.request)
        for part in path:
            if isinstance(found, dict) and isinstance(part, str):
                found = found.get(part)
            elif isinstance(found, list) and isinstance(part, int) and part < len(found):
                found = found[part]
            else:
                return None
        return found

    def text(self, *path: str | int) -> str:
        """Returns the string there, or ""."""
        found = self.at(*path)
        return found if isinstance(found, str) else ""

    def number(self, *path: str | int) -> int | None:
        """Returns the whole number there."""
        found = self.at(*path)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def flag(self, *path: str | int) -> bool:
        """Whether true is there."""
        return self.at(*path) is True

    def mapping(self, *path: str | int) -> Mapping[str, Json]:
        """Returns the mapping there, or an empty one."""
        found = self.at(*path)
        return found if isinstance(found, dict) else {}

    def items(self, *path: str | int) -> Iterator[Path]:
        """Yields the path of each item of the list there."""
        found = self.at(*path)
        for index in range(len(found) if isinstance(found, list) else 0):
            yield (*path, index)

    def instance_types(self) -> Iterator[tuple[Path, str]]:
        """Yields each instance type that the request names, and where."""
        for path in (
            ("ResourceConfig", "InstanceType"),
            *((*group, "InstanceType") for group in self.items("ResourceConfig", "InstanceGroups")),
            *((*wish, "InstanceType") for wish in self.items("ResourceConfig", "InstancePreferences")),
        ):
            if name := self.text(*path):
                yield path, name

    def error(self, path: Path, what: str, fix: str) -> Problem:
        """Returns a problem that the service would refuse the request for, or that the job would fail of."""
        return Problem(key=self.key_of(path), what=what, fix=fix)

    def doubt(self, path: Path, what: str, fix: str) -> Problem:
        """Returns a problem that the job may live with."""
        return warning(self.key_of(path), what, fix)


def repeated(names: Iterator[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Yields each name that was there before, and where it is again."""
    seen: set[str] = set()
    for path, name in names:
        if name and name in seen:
            yield path, name
        seen.add(name)


def shown(name: str) -> str:
    """Returns a name as a message shows it: cut short, and with nothing in it that a terminal would act on."""
    text = name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}…"
    return f"`{text}`" if text.isprintable() and "`" not in text else repr(text)
