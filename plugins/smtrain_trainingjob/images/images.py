"""AWS's Deep Learning Containers for training: which there are, what is in them, and how long they are patched.

The table is `images.json`, made by `generate_images.py` from AWS's own SDK; its dates say how old it is. An image that
it does not know, the user's own for one, is used as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import Needs, Problem, suggest, warning

KEY = "backend.framework"
"""The section that chooses an image by framework and version."""

COMMERCIAL = "amazonaws.com"
"""The registries' domain, but for the regions that the table names."""

SHOWN = 8
"""Versions that a message names: the newest; the older ones are of no use to anybody who has to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image, and what is in it.

    Attributes:
      uri: as Docker pulls it.
      framework: "pytorch" or "huggingface".
      version: the framework's, which is PyTorch's for both.
      python: e.g. "3.12"; None when neither tag nor table says it.
      torch: PyTorch's version.
      transformers: its version, in Hugging Face's images.
      gpu: whether it is built for CUDA.
      end_of_life: ISO date of the last day on which AWS patches it; None when AWS has published none.
    """

    uri: str
    framework: str
    version: str
    python: str | None
    torch: str | None
    transformers: str | None
    gpu: bool
    end_of_life: str | None


def look_up(
    *, framework: str, version: str | None, python: str | None, transformers: str | None, region: str, gpu: bool
) -> Image | Problem:
    """Returns the newest image that answers the description, or why there is none.

    Args:
      framework: "pytorch" or "huggingface".
      version: PyTorch's, whole or its beginning ("2", "2.8", "2.8.0"); None takes the newest that is still patched.
      python: "3.12" or "py312"; None takes any.
      transformers: of a Hugging Face image, whole or its beginning; None takes any.
      region: whose registry; images are pulled from the job's own region.
      gpu: whether the machine has GPUs.
    """
    rows = [row for row in _table().images if row.framework == framework]
    if not rows:
        choices = {row.framework for row in _table().images}
        return _problem(
            "name", f"AWS has no images of a framework {framework!r}.", suggest.did_you_mean(framework, choices)
        )
    if version is not None:
        found = [row for row in rows if _begins(row.version, version)]
        if not found:
            return _problem(
                "version", f"AWS has no {framework} image of PyTorch {version!r}.", _versions(rows, version)
            )
        rows = found
    for part, wanted in (("transformers", transformers), ("python", _dotted(python))):
        found = [row for row in rows if wanted is None or _begins(getattr(row, part) or "", wanted)]
        if not found:
            return _lacking(part, str(wanted), rows)
        rows = found
    return _of(rows, region=region, gpu=gpu, newest=version is None)


def recognise(uri: str) -> Image | None:
    """Returns what is known of a Deep Learning Container from its URI, of any region; None for any other image."""
    place = re.fullmatch(
        r"(?:(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<domain>[a-z0-9.-]+)"
        r"|public\.ecr\.aws/deep-learning-containers)/(?P<repository>[a-z-]+):(?P<tag>[\w.-]+)(?:@sha256:[0-9a-f]{64})?",
        uri,
    )
    if place is None:
        return None
    framework = {row.repository: row.framework for row in _table().images}.get(place["repository"])
    account, region = place["account"], place["region"]
    if framework is None or (account and (account not in _accounts() or place["domain"] != _domain(region))):
        return None
    tag = _TAG.fullmatch(place["tag"])
    if tag is None or (tag["transformers"] is not None) != (framework == "huggingface"):
        return None
    version, python = tag["version"], tag["python"]
    return Image(
        uri=uri,
        framework=framework,
        version=version,
        python=f"3.{python}" if python else _python_of(place["repository"], version),
        torch=version,
        transformers=tag["transformers"],
        gpu="cpu" not in (tag["processor"], tag["build"]),
        end_of_life=_end_of_life(framework, version),
    )


def problems(image: Image, needs: Needs, *, key: str = "backend.image") -> Iterator[Problem]:
    """Yields why the image does not do for a program, and a warning when AWS patches it no more.

    Both are judged as of the table's date, so that a compile gives the same answer on every day.

    Args:
      image: what `look_up` or `recognise` returned.
      needs: what the program asks of its target.
      key: the key that chose the image.
    """
    torch = next((package.specifier for package in needs.packages if package.name == "torch"), "")
    lacking = [
        f"{name} {version}, and the program needs {name} {specifier}"
        for name, version, specifier in (("Python", image.python, needs.python), ("torch", image.torch, torch))
        if version is not None and not _satisfies(version, specifier)
    ]
    if lacking:
        fitting = [
            row
            for row in _table().images
            if row.framework == image.framework
            and row.python is not None
            and _satisfies(row.python, needs.python)
            and _satisfies(row.version, torch)
        ]
        fix = f"Versions that do: {_newest_first(fitting)}." if fitting else "Bring an image of your own."
        yield Problem(key=key, what=f"{image.uri} has {'; '.join(lacking)}.", fix=fix)
    if image.end_of_life is not None and image.end_of_life < _table().as_of:
        patched = [row for row in _table().images if row.framework == image.framework and not _ended(row)]
        yield warning(
            key,
            f"{image.uri} is no longer patched by AWS since {image.end_of_life}.",
            f"Patched as of {_table().as_of}: {_newest_first(patched)}." if patched else "",
        )


# --------------------------------------------------------------------------------------------------------- the choice


def _of(rows: list[_Row], *, region: str, gpu: bool, newest: bool) -> Image | Problem:
    processor = "gpu" if gpu else "cpu"
    built = [row for row in rows if processor in row.tags]
    if not built:
        return _problem(
            "name",
            f"The {rows[0].framework} images are for GPUs alone, and the instance has none.",
            "Set backend.framework.name=pytorch, or choose an instance type with GPUs.",
        )
    here = [row for row in built if region in _table().registries[row.registries]]
    if not here:
        regions = {name for row in built for name in _table().registries[row.registries]}
        return Problem(
            key="backend.region",
            what=f"No registry of AWS's {rows[0].framework} images is known in the region {region!r}.",
            fix=f"{suggest.did_you_mean(region, regions)}\nOr name an image by its URI: backend.image.",
        )
    if newest:
        # An image whose Python is unknown cannot be checked: nobody gets it without asking for it.
        here = [row for row in here if row.python and not _ended(row)] or here
    row = max(here, key=lambda row: (_numbers(row.version), _numbers(row.transformers or "")))
    account = _table().registries[row.registries][region]
    return Image(
        uri=f"{account}.dkr.ecr.{region}.{_domain(region)}/{row.repository}:{row.tags[processor]}",
        framework=row.framework,
        version=row.version,
        python=row.python,
        torch=row.version,
        transformers=row.transformers,
        gpu=gpu,
        end_of_life=_end_of_life(row.framework, row.version),
    )


def _problem(part: str, what: str, fix: str) -> Problem:
    return Problem(key=f"{KEY}.{part}", what=what, fix=fix)


def _versions(rows: Iterable[_Row], version: str) -> str:
    match = suggest.closest(version, {row.version for row in rows})
    known = f"There are: {_newest_first(rows)}."
    return f"Did you mean `{match}`? {known}" if match else known


def _lacking(part: str, wanted: str, rows: list[_Row]) -> Problem:
    framework = rows[0].framework
    if part == "transformers" and framework == "pytorch":
        fix = "Set backend.framework.name=huggingface, or leave backend.framework.transformers out."
        return _problem(part, "The pytorch images carry no transformers.", fix)
    offered = sorted({str(getattr(row, part)) for row in rows if getattr(row, part)}, key=_numbers, reverse=True)
    asked = ", ".join(sorted({row.version for row in rows}, key=_numbers, reverse=True)[:SHOWN])
    what = f"AWS has no {framework} image of PyTorch {asked} with {part} {wanted!r}."
    return _problem(part, what, f"There are: {', '.join(offered[:SHOWN])}." if offered else "Leave it out.")


def _newest_first(rows: Iterable[_Row]) -> str:
    """Returns the versions of the rows, each Hugging Face one with its transformers."""
    ordered = sorted(rows, key=lambda row: (_numbers(row.version), _numbers(row.transformers or "")), reverse=True)
    names = [row.version + (f" (transformers {row.transformers})" if row.transformers else "") for row in ordered]
    return ", ".join(list(dict.fromkeys(names))[:SHOWN])


# ------------------------------------------------------------------------------------------------------------ versions


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _begins(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(f"{wanted}.")


def _dotted(python: str | None) -> str | None:
    found = re.fullmatch(r"py(3)(\d+)", python or "")
    return f"{found[1]}.{found[2]}" if found else python


def _satisfies(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)


def _end_of_life(framework: str, version: str) -> str | None:
    # AWS publishes dates for its own images only; Hugging Face's are built on them but patched by other people.
    series = ".".join(version.split(".")[:2])
    return _table().end_of_patch.pytorch.get(series) if framework == "pytorch" else None


def _ended(row: _Row) -> bool:
    end = _end_of_life(row.framework, row.version)
    return end is not None and end < _table().as_of


def _python_of(repository: str, version: str) -> str | None:
    rows = (row for row in _table().images if row.repository == repository)
    return next((row.python for row in rows if version == row.version or version.startswith(f"{row.version}.")), None)


# -------------------------------------------------------------------------------------------------------------- places

_TAG = re.compile(
    r"(?P<version>\d+\.\d+(?:\.\d+)?)(?:-transformers(?P<transformers>\d+(?:\.\d+)*))?-"
    r"(?:(?P<processor>cpu|gpu)-py3(?P<python>\d+)|(?P<build>cpu|cu\d+)-amzn\d+)(?:-[\w.-]+)?"
)


def _domain(region: str) -> str:
    domains = _table().domains.items()
    return next((domain for prefix, domain in domains if region.startswith(prefix)), COMMERCIAL)


@functools.cache
def _accounts() -> frozenset[str]:
    return frozenset(account for accounts in _table().registries.values() for account in accounts.values())


# ------------------------------------------------------------------------------------------------------- the data file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    framework: str
    repository: str
    version: str
    python: str | None
    transformers: str | None
    tags: dict[str, str]
    registries: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _EndOfPatch:
    as_of: str
    source: str
    pytorch: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    as_of: str
    source: str
    end_of_patch: _EndOfPatch
    domains: dict[str, str]
    registries: dict[str, dict[str, str]]
    images: tuple[_Row, ...]


@functools.cache
def _table() -> _Table:
    from msgspec import json

    return json.decode(Path(__file__).with_name("images.json").read_bytes(), type=_Table)
