"""A data set becomes tokens once: whoever asks for it again finds it in the cache."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smtrain_native.runtime import cache, store
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.data_report import Report
from smtrain_native.runtime.encode import Encoding
from smtrain_native.runtime.make_shard import Work, no_column
from smtrain_native.runtime.policies import Policies, policies_of, select
from smtrain_native.runtime.row_shapes import RowReader
from smtrain_native.runtime.settings import DataSet, Kind, Settings
from smtrain_native.runtime.shard_pool import make_shards
from smtrain_native.runtime.sources import Source, sources
from smtrain_native.runtime.store import Store
from smtrain_native.runtime.tokenize_progress import Progress
from smtrain_native.runtime.tokenizer_files import tokenizer_digest, tokenizer_folder

FORMAT = 1
"""Of what the cache holds; a change of what rows or tokens mean raises it."""

_ROWS, _LENGTHS, _REPORT = "rows.npy", "lengths.npy", "report.json"
_LEAST_SHARE = 4  # tokens take no less than this part of the text that they are of


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A data set in tokens.

    Attributes:
      dataset: which.
      digest: of all that decides its samples.
      store: all samples of its rows.
      folder: holds what was selected: rows.npy, lengths.npy, report.json.
      fresh: whether this call made the tokens.
    """

    dataset: DataSet
    digest: str
    store: Store
    folder: Path
    fresh: bool

    def report(self) -> Report:
        """Returns what became of the rows."""
        found = json.loads((self.folder / _REPORT).read_bytes())
        # A set of another name may have made it.
        return Report.parse({**found, "name": self.dataset.name, "role": self.dataset.role})

    def rows(self) -> np.ndarray:
        """Returns the numbers of an epoch's samples in the store; shape (N,), mapped into memory."""
        rows: np.ndarray = np.load(self.folder / _ROWS, mmap_mode="r")
        return rows

    def lengths(self) -> np.ndarray:
        """Returns the tokens of prompt and responses; shape (N, 1 + responses), mapped into memory."""
        lengths: np.ndarray = np.load(self.folder / _LENGTHS, mmap_mode="r")
        return lengths


def prepare(settings: Settings, dataset: DataSet, directory: Path, progress: Progress) -> Prepared:
    """Returns a data set in tokens, which are made unless the cache has them.

    Args:
      settings: of the whole training.
      dataset: one of its sets.
      directory: that relative paths start from.
      progress: is told what happens.

    Raises:
      DataError: the rows, the tokenizer, a policy or the disk do not allow it.
    """
    policies = policies_of(settings, dataset)
    root = cache.folder(settings)
    tokenizer = tokenizer_folder(settings.model, directory)
    tokenizer_key = tokenizer_digest(tokenizer, settings.model, root)
    rows = sources(dataset, directory)
    key = cache.digest_of(_token_parts(settings, dataset, rows, tokenizer_key, root))
    folder = root / "tokens" / key
    digest = cache.digest_of([key, asdict(policies)])
    selected = folder / "selections" / digest
    found = store.find(folder)
    if found is not None and _is_selected(selected):
        return Prepared(dataset=dataset, digest=digest, store=found, folder=selected, fresh=False)
    with cache.writable(root):
        folder.mkdir(parents=True, exist_ok=True)
    with cache.locked(folder, lambda: progress.line(f"{dataset.name}: another process makes its tokens; waiting")):
        found = store.find(folder)
        fresh = found is None
        if found is None:
            work = _Work(settings, dataset, rows, tokenizer, tokenizer_key)
            found = work.make(folder, progress)
        if not _is_selected(selected):
            _select(found, dataset, settings.kind, policies, selected)
    return Prepared(dataset=dataset, digest=digest, store=found, folder=selected, fresh=fresh)


def _token_parts(
    settings: Settings, dataset: DataSet, rows: Sequence[Source], tokenizer_key: str, root: Path
) -> dict[str, object]:
    """Returns all that decides the tokens; the policies choose among them afterwards."""
    completes = settings.data.prompt_type == "completion"
    return {
        "format": FORMAT,
        "rows": [source.content(root) for source in rows],
        "tokenizer": tokenizer_key,
        "kind": settings.kind,
        "prompt_type": settings.data.prompt_type,
        "append_eos": settings.data.append_eos and completes,
        "row_format": dataset.format,
        "columns": dict(dataset.columns),
        "tags": dict(dataset.tags),
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """The making of a store."""

    settings: Settings
    dataset: DataSet
    rows: Sequence[Source]
    tokenizer: Path
    tokenizer_key: str

    def make(self, folder: Path, progress: Progress) -> Store:
        RowReader(self.dataset, self.settings.kind)  # says before anything is loaded that a role has no column
        size = sum(source.size() for source in self.rows)
        _check_room(folder, size)
        encoding = Encoding(
            tokenizer=self.tokenizer,
            digest=self.tokenizer_key,
            kind=self.settings.kind,
            prompt_type=self.settings.data.prompt_type,
            append_eos=self.settings.data.append_eos,
            trust_remote_code=self.settings.model.trust_remote_code,
        )
        work = Work(dataset=self.dataset, encoding=encoding, folder=folder)
        chunks = (chunk for source in self.rows for chunk in source.chunks())
        expected = sum(source.expected_chunks() for source in self.rows)
        with progress.of(self.dataset.name, expected) as watch:
            notes = make_shards(work, chunks, self._workers(), watch)
        with cache.writable(folder):
            store.finish(folder, notes)
        return Store(folder, notes)

    def _workers(self) -> int:
        named = self.settings.data.workers
        if named is not None and named < 1:
            message = f"data.workers is {named}; it must be at least 1."
            raise DataError(message)
        return named or len(os.sched_getaffinity(0))


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size // _LEAST_SHARE:
        message = (
            f"{folder}: the tokens of {size:,} bytes of rows do not fit: {free:,} bytes are free. "
            "Make room, or name another folder: data.cache_dir, or the variable SMTRAIN_CACHE_DIR."
        )
        raise DataError(message)


def _is_selected(folder: Path) -> bool:
    return (folder / _REPORT).is_file()


def _select(found: Store, dataset: DataSet, kind: Kind, policies: Policies, folder: Path) -> None:
    present = found.present()
    for role in sorted(RowReader(dataset, kind).columns()):
        if found.rows and not present[role]:
            raise DataError(no_column(dataset, role, f"the first row of {', '.join(dataset.files)}", found.columns))
    selection = select(found, dataset, policies)
    with cache.writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in ((_ROWS, selection.rows), (_LENGTHS, selection.lengths)):
            cache.write_whole(folder / name, _npy(array))
        # Written last: it says that the selection is complete.
        report = json.dumps(asdict(selection.report), ensure_ascii=False, indent=2)
        cache.write_whole(folder / _REPORT, report.encode())


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
