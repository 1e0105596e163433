"""Hosts as Docker containers of the job's real image, on a network of their own.

Unlike namespaces they do not share this machine's network: an endpoint on its loopback must be named
`host.docker.internal`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from smtrain.plugin import ExitCode, fail
from smtrain_trainingjob.rehearsal.hosts import Host
from smtrain_trainingjob.rehearsal.isolation import Command, Mount
from smtrain_trainingjob.rehearsal.request import ML

_ASK_S = 30

_OF_THE_CLIENT = re.compile(r"DOCKER_.*|HOME|PATH|.*_proxy|.*_PROXY|SSH_.*|XDG_.*|LD_.*|GODEBUG")
"""Variables that the docker client itself reads; their values for the container go on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Runs each host as a container.

    Attributes:
      job_name: names the network, and with the host's name the container.
      image: the training image.
      own_entrypoint: whether the request replaces the image's entrypoint.
      gpus: whether containers get this machine's GPUs.
      program: the docker client.
      client_environment: the environment of the client.
    """

    job_name: str
    image: str
    own_entrypoint: bool
    gpus: bool
    program: str
    client_environment: Mapping[str, str]

    @property
    def by_address(self) -> bool:
        """Docker's own name server resolves the names."""
        return False

    @property
    def interface(self) -> str:
        """What Docker calls a container's first network."""
        return "eth0"

    def local(self, host: Host, text: str) -> str:
        """Returns the value as it is: `/opt/ml` is `/opt/ml`."""
        del host
        return text

    def open(self, hosts: tuple[Host, ...]) -> None:
        """Makes the network.

        Raises:
          SmtrainError: docker refused.
        """
        self._ask("network", "create", self.job_name)

    def command(
        self, host: Host, command: tuple[str, ...], environment: Mapping[str, str], mounts: tuple[Mount, ...]
    ) -> Command:
        """Returns the client's command; see `run_words`."""
        passed = {name: value for name, value in environment.items() if not _OF_THE_CLIENT.fullmatch(name)}
        return Command(
            argv=(self.program, *run_words(self, host, command, environment, mounts)),
            environment={**self.client_environment, **passed},
        )

    def send(self, host: Host, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Signals process 1 of the container."""
        if process.poll() is None:
            self._try("kill", "--signal", number.name, self._container(host))

    def clear(self, host: Host) -> None:
        """Removes the container, if its client was killed before it could."""
        self._try("rm", "--force", self._container(host))

    def close(self) -> None:
        """Removes the network."""
        self._try("network", "rm", self.job_name)

    def _container(self, host: Host) -> str:
        return f"{self.job_name}-{host.name}"

    def _try(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = (self.program, *words)
        return subprocess.run(
            argv, env=dict(self.client_environment), capture_output=True, text=True, timeout=_ASK_S, check=False
        )

    def _ask(self, *words: str) -> None:
        done = self._try(*words)
        if done.returncode != 0:
            what = f"`docker {' '.join(words)}` failed: {done.stderr.strip()}"
            raise fail(
                what,
                "Rehearse without Docker, or start its daemon.",
                code=ExitCode.MISSING_HERE,
            )


def run_words(
    docker: Docker, host: Host, command: tuple[str, ...], environment: Mapping[str, str], mounts: tuple[Mount, ...]
) -> tuple[str, ...]:
    """Returns the words of `docker run` for one host.

    Values of the environment are taken from the client's own, so that no secret is on a command line.
    """
    words = ["run", "--rm", "--name", f"{docker.job_name}-{host.name}", "--hostname", host.name]
    words += ["--network", docker.job_name, "--network-alias", host.name]
    words += ["--add-host", "host.docker.internal:host-gateway"]
    words += ["--volume", f"{host.ml}:{ML}"]
    for mount in mounts:
        words += ["--mount", _mount(mount)]
    if docker.gpus:
        words += ["--gpus", "all"]
    # SageMaker gives a container the host's shared memory; Docker's 64 MiB starve a data loader.
    words += ["--ipc", "private", "--shm-size", "2g"]
    for name, value in sorted(environment.items()):
        words += ["--env", f"{name}={value}" if _OF_THE_CLIENT.fullmatch(name) else name]
    if docker.own_entrypoint:
        return (*words, "--entrypoint", command[0], docker.image, *command[1:])
    return (*words, docker.image, *command)


def find(job_name: str, image: str, *, own_entrypoint: bool, gpus: bool) -> Docker:
    """Returns Docker, ready to run an image.

    Raises:
      SmtrainError: there is no client, or its daemon does not answer.
    """
    program = shutil.which("docker")
    if program is None:
        what = "There is no `docker` on PATH."
        raise fail(what, "Install it, or rehearse without it.", code=ExitCode.MISSING_HERE)
    found = Docker(
        job_name=job_name,
        image=image,
        own_entrypoint=own_entrypoint,
        gpus=gpus,
        program=program,
        client_environment=dict(os.environ),
    )
    found._ask("version")  # noqa: SLF001 - its own module
    return found


def _mount(mount: Mount) -> str:
    # The value is one line of CSV (docker run --mount): quotes around a field, doubled inside it.
    fields = ["type=bind", f"source={mount.source}", f"target={mount.path}", *(["readonly"] if mount.read_only else [])]
    return ",".join('"' + field.replace('"', '""') + '"' if re.search(r'[",\n]', field) else field for field in fields)
