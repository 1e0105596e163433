"""Prints the table of AWS Deep Learning Containers for training, read off the wheel of AWS's own SDK.

    pip download --no-deps sagemaker-core
    python plugins/smtrain_trainingjob/images/generate_images.py sagemaker_core-*.whl \
        > plugins/smtrain_trainingjob/images/images.json

The wheel says which images there are, and in which account of each region. What it does not say stands here, each with
its source: the end of patching, and the Python of the images whose tags do not name it.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict, cast

CONFIGS: Mapping[str, str] = {
    "pytorch.json": "pytorch",
    "pytorch-amzn2023.json": "pytorch",
    "huggingface.json": "huggingface",
}
"""Files of the wheel's image_uri_config → the framework they are of."""

REPOSITORIES = frozenset({"pytorch-training", "pytorch", "huggingface-pytorch-training"})

OLDEST = (1, 13)
"""PyTorch's first series with a published end of patching: what is older has none, and is of no use any more."""

PATCH_SOURCE = "AWS, github.com/aws/deep-learning-containers, docs/src/data and docs/src/legacy/legacy_support.yml"
PATCH_AS_OF = "2026-08-21"
END_OF_PATCH: Mapping[str, str] = {
    "1.13": "2024-10-28",
    "2.0": "2024-03-15",
    "2.1": "2024-10-04",
    "2.2": "2025-01-30",
    "2.3": "2025-04-24",
    "2.4": "2025-07-24",
    "2.5": "2025-10-29",
    "2.6": "2026-01-29",
    "2.7": "2026-04-23",
    "2.8": "2026-08-06",
    "2.9": "2026-10-15",
    "2.10": "2027-01-21",
    "2.11": "2027-04-30",
    "2.12": "2027-07-02",
    "2.13": "2027-07-20",
}
"""PyTorch's series → the last day on which AWS patches its own PyTorch images; Hugging Face's have no published one."""

UNNAMED_PYTHON: Mapping[str, str] = {"2.11": "3.12", "2.12": "3.12", "2.13": "3.12"}
"""The Python of the images on Amazon Linux 2023, whose tags do not name it; same source and date as above."""

DOMAINS: Mapping[str, str] = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
"""How the regions outside amazonaws.com begin → their domain (botocore's endpoints.json)."""


class Entry(TypedDict, total=False):
    """One version in the wheel's configuration."""

    py_versions: list[str]
    registries: dict[str, str]
    repository: str
    container_version: dict[str, str]
    processor_in_tag: bool
    tag_prefix: str


class Row(TypedDict):
    """One image of the table."""

    framework: str
    repository: str
    version: str
    python: str | None
    transformers: str | None
    tags: dict[str, str]
    registries: str


def main(wheel: str) -> None:
    """Prints the table."""
    registries: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        rows = [row for name, framework in CONFIGS.items() for row in _rows(archive, name, framework, registries)]
        date = max(entry.date_time for entry in archive.infolist())
    table = {
        "as_of": "{:04}-{:02}-{:02}".format(*date[:3]),
        "source": f"image_uri_config of {wheel.rpartition('/')[2]}",
        "end_of_patch": {"as_of": PATCH_AS_OF, "source": PATCH_SOURCE, "pytorch": END_OF_PATCH},
        "domains": DOMAINS,
        "registries": {name: json.loads(accounts) for accounts, name in registries.items()},
        "images": rows,
    }
    sys.stdout.write(_readable(table))


def _rows(archive: zipfile.ZipFile, name: str, framework: str, registries: dict[str, str]) -> Iterator[Row]:
    training = json.loads(archive.read(f"sagemaker/core/image_uri_config/{name}"))["training"]
    for version, torch, transformers, entry in _entries(training["versions"], framework):
        if entry["repository"] not in REPOSITORIES or tuple(map(int, torch.split(".")))[:2] < OLDEST:
            continue
        accounts = json.dumps(entry["registries"], sort_keys=True)
        label = registries.setdefault(accounts, f"accounts{len(registries) + 1}")
        for python in entry.get("py_versions", [""]):
            # Bare "py2" and "py3" are of the years before images named their Python.
            if python and not re.fullmatch(r"py3\d+", python):
                continue
            yield Row(
                framework=framework,
                repository=entry["repository"],
                version=torch,
                python=f"3.{python[3:]}" if python else UNNAMED_PYTHON.get(version),
                transformers=transformers,
                tags=dict(_tags(entry, torch, transformers, python, training["processors"])),
                registries=label,
            )


def _entries(
    versions: Mapping[str, Mapping[str, object]], framework: str
) -> Iterator[tuple[str, str, str | None, Entry]]:
    """Yields (version, PyTorch's version, transformers' version, entry)."""
    for version, entry in versions.items():
        if framework == "pytorch":
            yield version, version, None, cast("Entry", entry)
            continue
        for base, inner in entry.items():
            if base.startswith("pytorch"):
                yield version, base.removeprefix("pytorch"), version, cast("Entry", inner)


def _tags(
    entry: Entry, torch: str, transformers: str | None, python: str, processors: Iterable[str]
) -> Iterator[tuple[str, str]]:
    head = f"{torch}-transformers{transformers}" if transformers else entry.get("tag_prefix", torch)
    for processor in processors:
        words = (
            head,
            processor if entry.get("processor_in_tag", True) else "",
            python,
            entry.get("container_version", {}).get(processor, ""),
        )
        yield processor, "-".join(word for word in words if word)


def _readable(table: Mapping[str, object]) -> str:
    """Returns the table as JSON with one image a line, so that a difference can be read."""
    parts = []
    for key, value in table.items():
        if isinstance(value, list):
            lines = ",\n".join(f"    {json.dumps(row)}" for row in value)
            parts.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: " + json.dumps(value, indent=2).replace("\n", "\n  "))
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1])
