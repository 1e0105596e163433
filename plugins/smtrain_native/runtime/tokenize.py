"""The step that turns rows into tokens: `python -m smtrain_native.runtime.tokenize native.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from smtrain_native.runtime import failure
from smtrain_native.runtime import settings as settings_document
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.ending import FAILED
from smtrain_native.runtime.prepare import Prepared, prepare
from smtrain_native.runtime.tokenize_progress import Progress

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Prepares every set of the document, and says what became of its rows and where the tokens are."""
    parser = argparse.ArgumentParser(prog="smtrain_native.runtime.tokenize", description=__doc__)
    parser.add_argument("document", type=Path, help="native.json")
    parser.add_argument("--json", action="store_true", help="print the reports as one JSON document")
    options = parser.parse_args(argv)
    settings = settings_document.read(options.document)
    progress = Progress(sys.stderr)
    prepared: list[Prepared] = []
    failures: list[str] = []
    for dataset in settings.data.sets:
        try:
            prepared.append(prepare(settings, dataset, Path(), progress))
        except DataError as error:
            failures.append(str(error))
        except KeyboardInterrupt:
            progress.line("interrupted; the shards that are finished are kept, and the next run goes on with them")
            return INTERRUPTED
    if options.json:
        lines = [json.dumps(_document(prepared, failures), ensure_ascii=False)]
    else:
        lines = [line for each in prepared for line in _lines(each)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stderr.write("".join(f"error: {each}\n" for each in failures))
    return FAILED if failures else 0


def _document(prepared: Sequence[Prepared], failures: Sequence[str]) -> object:
    if failures:
        return failure.as_json(failures, FAILED)
    return [{**asdict(each.report()), **_where(each)} for each in prepared]


def _where(prepared: Prepared) -> dict[str, object]:
    return {"digest": prepared.digest, "store": str(prepared.store.folder), "cached": not prepared.fresh}


def _lines(prepared: Prepared) -> list[str]:
    state = "made now" if prepared.fresh else "found in the cache"
    return [*prepared.report().lines(), f"  tokens: {prepared.store.folder} ({state})"]


if __name__ == "__main__":
    sys.exit(main())
