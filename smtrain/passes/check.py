"""Check: `Bundle` → problems; offline, blind to who made it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from smtrain.credentials import PATTERNS
from smtrain.errors import Problem
from smtrain.spec import Bundle, BundleFile


def check(bundle: Bundle) -> Iterator[Problem]:
    """Yields what must not be sent."""
    yield from _paths(bundle)
    for file in bundle.files:
        if isinstance(file.content, bytes):
            yield from _secrets(file)
            if file.content.startswith(b"#!/usr/bin/env bash"):
                yield from _syntax(file)


def _paths(bundle: Bundle) -> Iterator[Problem]:
    seen: set[str] = set()
    for file in bundle.files:
        if file.path in seen or file.path.startswith("/") or ".." in file.path.split("/"):
            what = f"The bundle's file `{file.path}` is {'there twice' if file.path in seen else 'outside of it'}."
            yield Problem(key="", what=what, fix=f"This is a fault of backend `{bundle.backend}`; report it.")
        seen.add(file.path)


def _secrets(file: BundleFile) -> Iterator[Problem]:
    for name, pattern in PATTERNS:
        found = pattern.search(file.content) if isinstance(file.content, bytes) else None
        if found:
            line = file.content.count(b"\n", 0, found.start()) + 1  # type: ignore[union-attr]  # bytes, as just seen
            yield Problem(
                key="",
                what=f"{name[0].upper()}{name[1:]} stands in the bundle's `{file.path}`, line {line}.",
                fix="Take it out of the configuration, replace it (it may have been seen), and refer to it instead:\n"
                "secrets.NAME=env:NAME takes it from the target's environment; secretsmanager:ID, ssm:/NAME: AWS.",
            )


def _syntax(file: BundleFile) -> Iterator[Problem]:
    if not isinstance(file.content, bytes):
        return
    try:
        parsed = subprocess.run(["bash", "-n"], input=file.content, capture_output=True, check=False)
    except FileNotFoundError:
        return
    if parsed.returncode:
        message = parsed.stderr.decode(errors="replace").strip()
        yield Problem(key="", what=f"`{file.path}` is not valid bash: {message}", fix="This is a fault of a plugin.")
