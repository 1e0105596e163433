"""What is kept of a run that was launched: a receipt in its folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import msgspec

from smtrain.errors import fail
from smtrain.spec import Json, Receipt

FILE = "receipt.json"

_END_OF_TIME = 253_402_300_800  # the year 10000, beyond which no date can be shown


def as_json(receipt: Receipt) -> dict[str, Json]:
    """Returns a receipt as JSON."""
    return {**asdict(receipt), "state": receipt.state.value}


def from_json(document: Json) -> Receipt:
    """Returns the receipt of `as_json`.

    Raises:
      ValueError: it is none.
    """
    try:
        receipt = msgspec.convert(document, Receipt)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if not all(0 <= when < _END_OF_TIME for when in (receipt.started, receipt.ended or 0)):
        message = "it names a time that cannot be"
        raise ValueError(message)
    return receipt


def read(run_dir: Path) -> Receipt | None:
    """Returns a run's receipt; None when it was never launched.

    Raises:
      SmtrainError: the file is no receipt.
    """
    path = run_dir / FILE
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        what = f"{path} is no receipt: {error}."
        raise fail(what, "Remove it; the run's results are not touched.") from error


def write(run_dir: Path, receipt: Receipt) -> None:
    """Writes a run's receipt, whole or not at all."""
    write_json(run_dir / FILE, as_json(receipt))


def write_json(path: Path, document: Json) -> None:
    """Writes a JSON file, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(path)
