"""Does several things at once, in threads that do not hold the agent when it must end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class Begun(Generic[_R]):
    """Something that is being done from now on, until somebody needs what comes of it."""

    def __init__(self, do: Callable[[], _R]) -> None:
        """Begins.

        Args:
          do: what to do.
        """
        self._ended = threading.Event()
        self._found: tuple[_R, ...] = ()
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=(do,), daemon=True).start()

    def result(self) -> _R:
        """Waits for its end; returns what came of it, or raises what it raised."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self, do: Callable[[], _R]) -> None:
        try:
            self._found = (do(),)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self._ended.set()


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
