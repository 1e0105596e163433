"""Registers the backends and commands of SageMaker HyperPod."""

from __future__ import annotations

from collections.abc import Iterable

from smtrain.plugin import BackendSpec, CommandSpec, Job, Problem, hookimpl


@hookimpl
def smtrain_backends() -> list[BackendSpec]:
    """Returns the backends of this plugin."""
    return [
        BackendSpec(
            name="hyperpod_eks",
            load="smtrain_hyperpod.eks.backend:EksBackend",
            options="smtrain_hyperpod.eks.options:EksOptions",
            summary="A job on Kubernetes, under SageMaker HyperPod's operator or Kubeflow's.",
        ),
        BackendSpec(
            name="hyperpod_slurm",
            load="smtrain_hyperpod.slurm.backend:SlurmBackend",
            options="smtrain_hyperpod.slurm.options:SlurmOptions",
            summary="A job of Slurm, on SageMaker HyperPod or any other cluster.",
        ),
    ]


@hookimpl
def smtrain_commands() -> list[CommandSpec]:
    """Returns what is done with clusters."""
    return [
        CommandSpec(
            name=f"cluster {name}",
            load=f"smtrain_hyperpod.cluster.{load}",
            summary=summary,
            section="cluster",
            options="smtrain_hyperpod.cluster.options:ClusterOptions",
        )
        for name, load, summary in (
            ("plan", "commands:Plan", "Compiles a HyperPod cluster, and shows what would be created."),
            ("validate", "commands:Validate", "Looks at a cluster's network and FSx, as AWS's own validation does."),
            ("create", "commands:Create", "Uploads the lifecycle scripts, creates a cluster, and waits for it."),
            ("status", "commands:Status", "Tells how a cluster and its nodes are."),
            ("scale", "change_commands:Scale", "Gives groups of a cluster another number of instances."),
            ("update", "change_commands:Update", "Makes a cluster what the configuration says."),
            ("delete", "commands:Delete", "Deletes a cluster."),
            ("ssh-config", "ssh_command:SshConfig", "Prints entries of ~/.ssh/config for a cluster's nodes."),
        )
    ]


@hookimpl
def smtrain_checks(job: Job) -> Iterable[Problem]:
    """Yields why the cluster that a run names could not run it."""
    cluster = job.run.sections.get("cluster")
    if cluster is None:
        return
    from smtrain_hyperpod.cluster.options import ClusterOptions
    from smtrain_hyperpod.cluster.rules import runs

    if isinstance(cluster, ClusterOptions):
        yield from runs.problems(job, cluster)
