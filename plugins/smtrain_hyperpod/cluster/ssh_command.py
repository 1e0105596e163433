"""`smtrain cluster ssh-config`: entries of ~/.ssh/config for the nodes of a cluster that is there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from smtrain.plugin import ExitCode, Json, Printer, fail
from smtrain_hyperpod.cluster import account, ssh_config
from smtrain_hyperpod.cluster.commands import Compiler, add_name, named
from smtrain_hyperpod.cluster.ssh_config import Access


class SshConfig:
    """Prints entries of ~/.ssh/config for a cluster's nodes."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds which cluster, and how its nodes are reached."""
        add_name(parser)
        parser.add_argument("--user", default="ubuntu", help="on the nodes (ubuntu)")
        parser.add_argument("--profile", default="", help="of the AWS CLI (its default)")
        parser.add_argument("--identity", default="", metavar="FILE", help="private key (left to ssh)")
        parser.add_argument("-o", "--output", metavar="FILE", help="write the entries here rather than to stdout")

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Prints an entry for each node that runs, or writes them to a file."""
        for flag in ("user", "profile", "identity"):
            _refuse_odd(flag, getattr(flags, flag))
        name, there = named(compiler, flags)
        described = there.get(name)
        kinds = _kinds(described)
        if flags.name is None:
            kinds |= {group: str(said.kind) for group, said in compiler.section().groups.items()}
        access = Access(
            cluster=name,
            cluster_id=account.cluster_id(described),
            region=there.region,
            user=flags.user,
            profile=flags.profile,
            identity=flags.identity,
        )
        nodes = tuple(node for node in there.nodes(name) if node.status in ("Running", ""))
        text = ssh_config.text(access, nodes, kinds)
        if flags.output:
            Path(flags.output).write_text(text, encoding="utf-8")
            out.say(f"wrote {len(nodes)} entries; put this line at the top of ~/.ssh/config:")
            out.say(f"Include {Path(flags.output).absolute()}")
        else:
            out.say(text.removesuffix("\n"))
        rows: list[Json] = [
            {"host": host, "instance_id": instance} for instance, host in ssh_config.host_names(name, nodes)
        ]
        out.result({"cluster": name, "hosts": rows, "text": text})
        return ExitCode.DONE


def _refuse_odd(flag: str, value: str) -> None:
    """Raises where a line of ssh_config could not hold a value."""
    if not value.isprintable() or '"' in value or value.startswith("-"):
        what = f"`--{flag}` has what no line of ssh_config can hold: {value!r}."
        raise fail(what, "Take out quotes and control characters, and dashes at the beginning.")


def _kinds(described: Mapping[str, Json]) -> dict[str, str]:
    """Returns group → controller, login or compute, as far as the service knows."""
    found: dict[str, str] = {}
    for group in account.groups(described):
        told = group.get("SlurmConfig")
        if isinstance(told, dict):
            found[str(group["InstanceGroupName"])] = str(told.get("NodeType", "")).lower()
    return found
