"""Installs what the program needs and the image lacks, without touching the image's own torch."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from smtrain.agent import commands
from smtrain.agent.ending import AgentCode, AgentError, say
from smtrain.agent.plan import Install

# Built for one another and for the image's CUDA: another version of one breaks the rest.
_KEPT = ("torch", "torchvision", "torchaudio", "flash-attn")
_LOOK = """
import importlib.metadata, json, sys
try:
    from packaging.specifiers import SpecifierSet
except ImportError:
    from pip._vendor.packaging.specifiers import SpecifierSet
wanted, kept = json.loads(sys.argv[1])
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
def lacking(name, specifier):
    found = version(name)
    if found is None:
        return name + specifier + " is not installed"
    if not SpecifierSet(specifier).contains(found, prereleases=True):
        return name + " is " + found + ", not " + specifier
print(json.dumps([
    [[name, specifier, why] for name, specifier in wanted for why in [lacking(name, specifier)] if why],
    [name + "==" + found for name in kept for found in [version(name)] if found],
]))
"""
_LAST_LINES = 12
_ADVICE = (
    "To fix this",
    "1. loosen",
    "2. remove",
    "ERROR: ResolutionImpossible",
    "Additionally, some packages",
    "INFO: ",
)
_TIME_S = 1800.0


def install(wanted: Install, python: str, scratch: Path) -> None:
    """Installs what is lacking.

    Args:
      wanted: what there must be.
      python: the interpreter that must have it.
      scratch: folder for pip's constraints.

    Raises:
      AgentError: something is lacking and may not, or cannot, be installed.
    """
    if not wanted.packages and not wanted.requirements:
        return
    lacking, kept = _look(wanted, python)
    if not lacking and not wanted.requirements:
        return
    reasons = "; ".join(why for _, _, why in lacking)
    if not wanted.allowed:
        if lacking:
            raise AgentError(AgentCode.NO_PACKAGE, f"{reasons}; take an image that has it, or let it be installed")
        return
    say(f"installing: {reasons or wanted.requirements}")
    _pip(
        wanted, python, tuple(name + specifier for name, specifier, _ in lacking), _constraints(kept, lacking, scratch)
    )
    lacking, _ = _look(wanted, python)
    if lacking:
        reasons = "; ".join(why for _, _, why in lacking)
        raise AgentError(AgentCode.NO_PACKAGE, f"pip reported success, and still {reasons}")


def _look(wanted: Install, python: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    try:
        done = commands.run((python, "-c", _LOOK, json.dumps([wanted.packages, _KEPT])))
    except OSError as error:
        raise AgentError(AgentCode.NO_PACKAGE, f"the interpreter {python} does not start: {error.strerror}") from error
    if done.code:
        raise AgentError(AgentCode.NO_PACKAGE, f"{python} cannot tell what it has installed", *_last(done.errors))
    lacking, kept = json.loads(done.output)
    return [(name, specifier, why) for name, specifier, why in lacking], kept


def _constraints(kept: list[str], lacking: list[tuple[str, str, str]], scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "constraints.txt"
    # A package that the plan wants in another version is the plan's business.
    named = {name for name, _, _ in lacking}
    path.write_text("".join(f"{line}\n" for line in kept if line.partition("==")[0] not in named), encoding="utf-8")
    return path


def _pip(wanted: Install, python: str, packages: tuple[str, ...], constraints: Path) -> None:
    source: tuple[str, ...] = ()
    if wanted.wheels_dir:
        source = ("--no-index", "--find-links", wanted.wheels_dir)
    elif wanted.index_url:
        source = ("--index-url", wanted.index_url)
    requirements = ("--requirement", wanted.requirements) if wanted.requirements else ()
    options = ("--no-input", "--disable-pip-version-check", "--progress-bar=off", "--constraint", str(constraints))
    command = (python, "-m", "pip", "install", *options, *source, *requirements, *packages)
    try:
        done = commands.run(command, timeout_s=_TIME_S)
    except subprocess.TimeoutExpired:
        raise AgentError(AgentCode.NO_PACKAGE, f"pip took longer than {_TIME_S:.0f} s") from None
    if done.code:
        what = " ".join((*requirements, *packages))
        raise AgentError(
            AgentCode.NO_PACKAGE, f"pip could not install {what}", *_last(done.output), *_last(done.errors)
        )


def _last(text: str) -> tuple[str, ...]:
    lines = (line for line in text.splitlines() if line.strip() and not line.strip().startswith(_ADVICE))
    return tuple(lines)[-_LAST_LINES:]
