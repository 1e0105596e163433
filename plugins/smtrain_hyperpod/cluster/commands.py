"""`smtrain cluster …`: planned, created, looked at, changed, deleted."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from smtrain.plugin import ApiCall, ExitCode, Json, Printer, Problem, SectionCompiler, SmtrainError, fail
from smtrain_hyperpod.cluster import account, differences, network_findings, report, storage_findings
from smtrain_hyperpod.cluster.account import Account
from smtrain_hyperpod.cluster.compiled import Compiled, compile_cluster
from smtrain_hyperpod.cluster.network_findings import Looked
from smtrain_hyperpod.cluster.options import ClusterOptions

Compiler = SectionCompiler[ClusterOptions]


class Plan:
    """Compiles a cluster, and shows what would be created."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds where the bundle goes."""
        add_folder(parser)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Writes the bundle; nothing leaves the machine."""
        compiled = compile_cluster(compiler)
        written = compiler.write(compiled.bundle, Path(flags.clusters_dir))
        out.rows(report.plan(compiled, written))
        out.say(f"\nCreate it: {report.create_command(written)}")
        out.result(report.plan_json(compiled, written))
        return ExitCode.DONE


class Validate:
    """Looks at a cluster's network and file system, as AWS's own validation does."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds nothing."""

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Compiles the cluster, asks EC2 and FSx, and says what it found."""
        compiled = compile_cluster(compiler)
        found = tuple(each.finding for each in _looked(compiled.cluster))
        out.say(f"{compiled.cluster.name}: the request, the groups and the scripts are good")
        for finding in found:
            out.rows(report.finding(finding))
        out.result([report.finding_json(finding) for finding in found])
        return ExitCode.BAD_CONFIG if any(finding.good is False for finding in found) else ExitCode.DONE


class Create:
    """Uploads the lifecycle scripts, creates a cluster, and waits for it."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds what is created, and how long it is waited for."""
        add_folder(parser)
        parser.add_argument("--dir", metavar="DIR", help="create what plan wrote to this folder, and read nothing else")
        parser.add_argument(
            "--no-validate", action="store_true", help="do not look at the network and the file system first"
        )
        add_waiting(parser, detach=True)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Creates the cluster, unless the very same one is there."""
        if flags.dir is None:
            compiled = compile_cluster(compiler)
            if not flags.no_validate:
                _refuse_network(compiler, compiled)
            written = compiler.write(compiled.bundle, Path(flags.clusters_dir))
            rows = tuple(report.plan(compiled, written))
        else:
            written = Path(flags.dir)
            rows = (("bundle", str(written / "bundle")),)
        request, region = _asked(compiler, written)
        there = Account(region, poll_s=flags.poll)
        described = there.find(str(request["ClusterName"]))
        if described is None:
            if not compiler.may("Create it?", rows):
                return ExitCode.INTERRUPTED
            compiler.submit(written)
        else:
            _adopt(request, described)
            out.say(f"{request['ClusterName']} is there already, as it is asked for")
        return follow(there, str(request["ClusterName"]), flags, out)


class Status:
    """Tells how a cluster and its nodes are."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds which cluster, and whether to wait for it."""
        add_name(parser)
        parser.add_argument("--wait", "-f", "--follow", action="store_true", help="go on until it changes no more")
        add_waiting(parser, detach=False)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Shows the cluster's groups and nodes; one that failed makes the exit code 1."""
        name, there = named(compiler, flags)
        if flags.wait:
            there.settled(name, out.say, timeout_s=flags.timeout)
        return shown(there, name, out)


class Delete:
    """Deletes a cluster, once somebody said so."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds which cluster, and how long it is waited for."""
        add_name(parser)
        add_waiting(parser, detach=True)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Deletes the cluster and waits until it is gone; one that is gone already is as good."""
        name, there = named(compiler, flags)
        described = there.find(name)
        if described is None:
            out.say(f"there is no cluster {name} in {there.region}")
            out.result({"cluster": name, "deleted": False})
            return ExitCode.DONE
        if account.status(described) != "Deleting":
            if not compiler.may("Delete it, with everything on its nodes?", report.described(described)):
                return ExitCode.INTERRUPTED
            there.client.call("DeleteCluster", ClusterName=name)
        if not flags.detach:
            there.gone(name, out.say, timeout_s=flags.timeout)
            out.say(f"{name}: deleted")
        out.result({"cluster": name, "deleted": True})
        return ExitCode.DONE


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Adds where bundles are written."""
    parser.add_argument("--clusters-dir", default="clusters", help="folder that holds the clusters' bundles (clusters)")


def add_name(parser: argparse.ArgumentParser) -> None:
    """Adds the way to name a cluster without its configuration."""
    parser.add_argument("--name", help="name of a cluster, in the place of its configuration")
    parser.add_argument("--region", default="", help="its region (that of the profile)")


def add_waiting(parser: argparse.ArgumentParser, *, detach: bool) -> None:
    """Adds how long something is waited for."""
    if detach:
        parser.add_argument("--detach", "-d", action="store_true", help="return at once")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait (as long as it takes)")
    parser.add_argument("--poll", type=_seconds, metavar="S", default=account.POLL_S, help=argparse.SUPPRESS)


def named(compiler: Compiler, flags: argparse.Namespace) -> tuple[str, Account]:
    """Returns the cluster that is meant, by name or by its configuration, and its account."""
    poll_s = getattr(flags, "poll", account.POLL_S)
    if flags.name is not None:
        return str(flags.name), Account(flags.region, poll_s=poll_s)
    try:
        cluster = compiler.section()
    except SmtrainError as error:
        if any(problem.key == "cluster.name" and problem.where is None for problem in error.problems):
            fix = "Choose its configuration, cluster=…, or name it: --name NAME --region REGION"
            raise fail(what="No cluster is named.", fix=fix) from error
        raise
    return cluster.name, Account(cluster.region, poll_s=poll_s)


def follow(there: Account, name: str, flags: argparse.Namespace, out: Printer, *, counts: bool = False) -> ExitCode:
    """Waits until a cluster changes no more, unless the flags say not to, and shows it."""
    if not flags.detach:
        try:
            there.settled(name, out.say, timeout_s=flags.timeout, counts=counts)
        except KeyboardInterrupt:
            out.say(f"{name} goes on without you. See it: smtrain cluster status --name {name} --region {there.region}")
            raise
    return shown(there, name, out)


def shown(there: Account, name: str, out: Printer) -> ExitCode:
    """Shows a cluster, its groups and nodes."""
    described = there.get(name)
    nodes = tuple(there.nodes(name))
    out.rows(report.described(described))
    out.rows(report.nodes(nodes))
    out.result(report.status_json(described, nodes))
    return ExitCode.WORKLOAD_FAILED if account.status(described) == "Failed" else ExitCode.DONE


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 10**7:
        raise ValueError
    return number


_seconds.__name__ = "number of seconds"  # which argparse names in its message


def _asked(compiler: Compiler, written: Path) -> tuple[dict[str, Json], str]:
    """Returns the request of a bundle, proven to be what was compiled, and the region that it is for."""
    calls = (each for each in compiler.actions(written) if isinstance(each, ApiCall))
    call = next((each for each in calls if each.operation == "CreateCluster"), None)
    if call is None:
        what = f"`{written}` creates no cluster."
        raise fail(what, "Give the folder that smtrain cluster plan named.")
    text = (written / "bundle" / call.request).read_text(encoding="utf-8")
    return cast("dict[str, Json]", json.loads(text)), call.region


def _looked(cluster: ClusterOptions) -> Iterator[Looked]:
    yield from network_findings.findings(cluster)
    yield from storage_findings.findings(cluster)


def _refuse_network(compiler: Compiler, compiled: Compiled) -> None:
    """Raises what AWS's own validation would refuse; what cannot be seen is left to the service."""
    try:
        found = tuple(_looked(compiled.cluster))
    except SmtrainError:
        return  # no EC2 to be asked is not the cluster's fault; the service itself will be heard
    compiler.report(
        Problem(
            key=each.key, what=each.finding.what, fix=f"{each.finding.fix}\nTo create it all the same: --no-validate"
        )
        for each in found
        if each.finding.good is False
    )


def _adopt(request: Mapping[str, Json], described: Mapping[str, Json]) -> None:
    """Raises unless the cluster that has this name is the one that is asked for."""
    name = described.get("ClusterName")
    if account.status(described) in ("Failed", "RollingBack", "Deleting"):
        what = f"There is a cluster `{name}`, and it is {account.status(described)}: {account.failure(described)}"
        raise fail(what.rstrip(": "), "Delete it first: smtrain cluster delete", code=ExitCode.REMOTE_REFUSED)
    found = differences.differences(request, described)
    if found:
        only_counts = all(each.is_count for each in found)
        verb = "scale" if only_counts else "update"
        lines = "\n".join(f"- {each}" for each in found)
        what = f"There is a cluster `{name}`, and it is another."
        fix = f"{lines}\nChange it: smtrain cluster {verb}, with the same words; or choose another cluster.name."
        raise fail(what, fix, key="cluster.name", code=ExitCode.REMOTE_REFUSED)
