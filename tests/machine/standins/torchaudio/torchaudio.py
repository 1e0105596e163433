"""Imports cleanly and raises when used: audio data needs the real torchaudio."""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    message = f"torchaudio.{name}: this machine has a stand-in for torchaudio; audio data needs the real package"
    raise RuntimeError(message)
