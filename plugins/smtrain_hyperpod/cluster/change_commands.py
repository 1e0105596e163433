"""`smtrain cluster scale` and `smtrain cluster update`: a cluster that is there, changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import ExitCode, Json, Printer, api_limits, fail, suggest
from smtrain_hyperpod.cluster import account, differences, updates
from smtrain_hyperpod.cluster.account import Account
from smtrain_hyperpod.cluster.commands import Compiler, add_folder, add_name, add_waiting, follow, named
from smtrain_hyperpod.cluster.compiled import compile_cluster, update_bundle
from smtrain_hyperpod.cluster.differences import Difference


class Scale:
    """Gives groups of a cluster the number of instances that the configuration, or a flag, says."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds which cluster, and which group gets how many."""
        add_name(parser)
        parser.add_argument(
            "--group",
            action="append",
            default=[],
            metavar="NAME=COUNT",
            help="in the place of the configuration's counts",
        )
        add_waiting(parser, detach=True)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Changes counts and nothing else."""
        name, there = named(compiler, flags)
        described = there.get(name)
        if flags.group or flags.name is not None:
            wanted = _counts(flags.group)
        else:
            wanted = {group: said.count for group, said in compiler.section().groups.items()}
        now = {str(group["InstanceGroupName"]): int(str(group["TargetCount"])) for group in account.groups(described)}
        for group in sorted(set(wanted) - set(now)):
            what = f"The cluster `{name}` has no instance group `{group}`."
            fix = f"{suggest.did_you_mean(group, now)}\nTo add it: smtrain cluster update"
            raise fail(what, fix, key=f"cluster.groups.{group}")
        changed = {group: count for group, count in wanted.items() if now[group] != count}
        if not changed:
            out.say(f"{name} has these counts already")
            return follow(there, name, flags, out, counts=True)
        rows = tuple(("scale", f"{group}: {now[group]} → {count}") for group, count in changed.items())
        change = Change(request=updates.scaled(described, changed), rows=rows)
        return _change(compiler, there, change, flags, out)


class Update:
    """Makes a cluster what the configuration says: scripts, groups, counts, recovery."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds where the bundle goes, and how long the change is waited for."""
        add_folder(parser)
        parser.add_argument("--delete-groups", action="store_true", help="also delete groups that are not asked for")
        add_waiting(parser, detach=True)

    def run(self, compiler: Compiler, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Uploads the scripts, and changes what differs."""
        compiled = compile_cluster(compiler)
        name, there = compiled.cluster.name, Account(compiled.cluster.region, poll_s=flags.poll)
        found = differences.differences(compiled.request, there.get(name))
        _refuse(found, delete_groups=flags.delete_groups)
        if not found:
            out.say(f"{name} is as it is asked for")
            return follow(there, name, flags, out)
        request = updates.updated(compiled.request, found)
        written = compiler.write(update_bundle(compiled, request), Path(flags.clusters_dir))
        change = Change(request=request, rows=tuple(("update", str(each)) for each in found), bundle=written)
        return _change(compiler, there, change, flags, out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a cluster.

    Attributes:
      request: UpdateCluster's.
      rows: what it changes, for people.
      bundle: folder of the bundle that is submitted before; None when nothing is uploaded.
    """

    request: Mapping[str, Json]
    rows: tuple[tuple[str, str], ...]
    bundle: Path | None = None


def _change(compiler: Compiler, there: Account, change: Change, flags: argparse.Namespace, out: Printer) -> ExitCode:
    name = str(change.request["ClusterName"])
    compiler.report(api_limits.problems(updates.UPDATE, change.request))
    if not compiler.may("Change it?", [("cluster", name), *change.rows]):
        return ExitCode.INTERRUPTED
    out.rows(change.rows)
    if change.bundle is not None:
        compiler.submit(change.bundle)
    there.client.call("UpdateCluster", **change.request)
    return follow(there, name, flags, out, counts=True)


def _refuse(found: Iterable[Difference], *, delete_groups: bool) -> None:
    """Raises what an update cannot change, or is not asked to."""
    different = tuple(found)
    fixed = "".join(f"- {each}\n" for each in updates.unchangeable(different))
    if fixed:
        fix = f"{fixed}Set it back, or make another cluster: smtrain cluster delete, then create."
        raise fail(what="No update of a cluster changes this.", fix=fix, key="cluster.name")
    surplus = sorted(each.group for each in different if each.is_surplus)
    if surplus and not delete_groups:
        what = f"The cluster has {' and '.join(f'`{name}`' for name in surplus)}, which the configuration has not."
        raise fail(what, "Add what is missing, or delete it from the cluster: --delete-groups", key="cluster.groups")


def _counts(words: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        group, _, count = word.rpartition("=")
        if not group or not count.isdecimal():
            what = f"`--group {word}` says no count."
            raise fail(what, "Write --group NAME=COUNT, e.g. --group workers=4")
        found[group] = int(count)
    if not found:
        what = "Nothing says how many instances there are to be."
        raise fail(what, "Write --group NAME=COUNT, or name a configuration.")
    return found
