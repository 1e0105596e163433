"""Many processes make the shards of a data set, and what an interrupted run has finished is kept.

Processes, not the tokenizer's own threads: laying out text and reading rows need Python, which runs one thread a
process. benchmarks/tokenize.py has the figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.encode import encoder_for
from smtrain_native.runtime.make_shard import ShardNote, Work, make_shard, note_path, shard_path
from smtrain_native.runtime.rows import Chunk

Watch = Callable[[ShardNote], None]
"""Is told of each shard that is finished."""

_IN_FLIGHT = 2  # chunks a process, one of them waiting


def make_shards(work: Work, chunks: Iterable[Chunk], workers: int, watch: Watch) -> list[ShardNote]:
    """Makes the shards that are not there, and returns the notes of all in order.

    Args:
      work: what becomes of a chunk.
      chunks: in order; the same ones whenever the set is read.
      workers: processes; 1 is this one.
      watch: is told of each shard.

    Raises:
      DataError: of the first chunk, in order of time, that cannot be used.
    """
    notes: dict[int, ShardNote] = {}

    def finished(number: int, note: ShardNote) -> None:
        notes[number] = note
        watch(note)

    for each in work.folder.glob(".part-*"):
        each.unlink(missing_ok=True)
    missing = _missing(work.folder, chunks, finished)
    first_two = list(itertools.islice(missing, 2))
    every = itertools.chain(first_two, missing)
    if workers == 1 or len(first_two) <= 1:
        for number, chunk in every:
            finished(number, make_shard(work, number, chunk))
    else:
        _with_pool(work, every, workers, finished)
    return [notes[number] for number in sorted(notes)]


def _missing(
    folder: Path, chunks: Iterable[Chunk], finished: Callable[[int, ShardNote], None]
) -> Iterator[tuple[int, Chunk]]:
    for number, chunk in enumerate(chunks):
        note = _finished_note(folder, number)
        if note is None:
            yield number, chunk
        else:
            finished(number, note)


def _finished_note(folder: Path, number: int) -> ShardNote | None:
    """Returns the note of a shard that is whole; None where there is none, or its content is not what it says."""
    try:
        note = ShardNote(**json.loads(note_path(folder, number).read_bytes()))
        with shard_path(folder, number).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError, TypeError):
        return None
    return note if digest == note.sha256 else None


def _with_pool(
    work: Work, chunks: Iterator[tuple[int, Chunk]], workers: int, finished: Callable[[int, ShardNote], None]
) -> None:
    context = _context()
    if context.get_start_method() == "fork":
        encoder_for(work.encoding)  # each process has it then, and no mistake is told by all of them
    running: dict[Future[ShardNote], int] = {}
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _begin, (os.getpid(),)) as pool:
        try:
            for number, chunk in chunks:
                running[pool.submit(make_shard, work, number, chunk)] = number
                if len(running) >= workers * _IN_FLIGHT:
                    _collect(running, finished)
            while running:
                _collect(running, finished)
        except BrokenProcessPool:
            _let_go(pool)
            message = "a process that tokenised was killed, probably for lack of memory. Set a smaller data.workers."
            raise DataError(message) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _let_go(broken: ProcessPoolExecutor) -> None:
    """Frees what feeds the processes, which would else wait for them to read, and the pool for it.

    So it was before Python 3.11.5 (python/cpython issue 94777); Debian 12 has 3.11.2.
    """
    if sys.version_info < (3, 11, 5):
        broken._call_queue._reader.close()  # type: ignore[attr-defined]  # noqa: SLF001


def _collect(running: dict[Future[ShardNote], int], finished: Callable[[int, ShardNote], None]) -> None:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        finished(running.pop(future), future.result())


def _context() -> BaseContext:
    """Returns how processes begin: by fork, which has the tokenizer at once, but not from one that uses a GPU."""
    torch = sys.modules.get("torch")
    uses_gpu = torch is not None and torch.cuda.is_initialized()
    return multiprocessing.get_context("spawn" if uses_gpu or sys.platform != "linux" else "fork")


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Has the processes that begin meanwhile leave the other cores to one another."""
    names = ("TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _begin(parent: int) -> None:
    """Prepares a process of the pool: the parent is told of ^C and can end it, and nothing outlives the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler of the parent's would keep a broken pool from its end

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
