"""The pods of a rehearsal while they run: one process tree each, listened to, asked to end, and killed."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

GRACE_S = 30.0
"""Between SIGTERM and SIGKILL; whoever rehearses does not wait as long as a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodProcess:
    """What a pod runs: its name, its command, its environment and its folder."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path


@dataclass(slots=True, kw_only=True)
class Running:
    """Pods that run side by side.

    Attributes:
      on_line: called with pod and text, from the thread that called `wait`.
    """

    on_line: Callable[[str, str], None]
    codes: dict[str, int] = field(default_factory=dict)
    _events: queue.SimpleQueue[tuple[str, str | int]] = field(default_factory=queue.SimpleQueue)
    _children: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, pod: PodProcess) -> None:
        """Starts a pod."""
        child = subprocess.Popen(
            pod.command,
            env=dict(pod.env),
            cwd=pod.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._children[pod.name] = child
        threading.Thread(target=self._read, args=(pod.name, child), daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Shows lines until every pod has ended; returns False when the time is over before that."""
        deadline = time.monotonic() + timeout_s
        while len(self.codes) < len(self._children):
            left = deadline - time.monotonic()
            try:
                name, event = self._events.get(timeout=max(left, 0.001))
            except queue.Empty:
                return False
            if isinstance(event, int):
                self.codes[name] = event
            else:
                self.on_line(name, event)
        return True

    def end(self) -> None:
        """Asks the pods to end, as the kubelet does, and kills what is left of them."""
        self._signal(signal.SIGTERM)
        if not self.wait(GRACE_S):
            self._signal(signal.SIGKILL)
            self.wait(GRACE_S)

    def _signal(self, number: int) -> None:
        for name, child in self._children.items():
            if name not in self.codes:
                with contextlib.suppress(ProcessLookupError):
                    # The first process alone, of which the others are; killed, none of them may be left.
                    (os.killpg if number == signal.SIGKILL else os.kill)(child.pid, number)

    def _read(self, name: str, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            self._events.put((name, line.rstrip("\r\n")))
        code = child.wait()
        self._events.put((name, code if code >= 0 else 128 - code))
