"""Does several things at once, in threads that do not hold the agent when it must end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def each(do: Callable[[_T], _R], items: Iterable[_T], *, threads: int) -> tuple[_R, ...]:
    """Returns what comes of each item, in the order in which they are done.

    Args:
      do: must not raise.
      items: what to do it to.
      threads: how many at once.
    """
    waiting: queue.SimpleQueue[_T] = queue.SimpleQueue()
    done: queue.SimpleQueue[_R] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    count = waiting.qsize()

    def work() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            done.put(do(item))

    # Daemons, unlike those of concurrent.futures, which the interpreter would wait for.
    for _ in range(min(threads, count)):
        threading.Thread(target=work, daemon=True).start()
    return tuple(done.get() for _ in range(count))
