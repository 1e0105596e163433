"""Rules of machines, time and network that SageMaker's service model does not carry.

Pages named here are those of https://docs.aws.amazon.com/sagemaker/latest/dg/ (`dg`) and …/APIReference/ (`API_…`),
the guide as of 19 May 2023, its last public source, the reference as botocore 1.44.5 carries it.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_trainingjob.rules.request_view import Path, RequestView, repeated, shown

_DAY_S = 86_400
_LONGEST_RUN_S = 28 * _DAY_S
_RESOURCES = "ResourceConfig"


def warm_pool(view: RequestView) -> Iterator[Problem]:
    """A warm pool goes neither with spot instances nor with instance groups: dg/train-warm-pools, considerations."""
    path: Path = (_RESOURCES, "KeepAlivePeriodInSeconds")
    if not view.number(*path):
        return
    if view.flag("EnableManagedSpotTraining"):
        yield view.error(path, "a warm pool cannot be kept of spot instances.", "Give up the pool, or spot.")
    if view.at(_RESOURCES, "InstanceGroups"):
        yield view.error(path, "a warm pool cannot be kept of instance groups.", "Give up the pool, or the groups.")


def one_way_to_name_machines(view: RequestView) -> Iterator[Problem]:
    """One type with a count, or groups, or preferences: API_ResourceConfig.

    The model requires none of them, and takes a count of 0.
    """
    if view.mapping("ServerlessJobConfig"):
        return
    single = [name for name in ("InstanceType", "InstanceCount") if view.at(_RESOURCES, name) is not None]
    several = [name for name in ("InstanceGroups", "InstancePreferences") if view.at(_RESOURCES, name)]
    for name in single if several else ():
        yield view.error((_RESOURCES, name), f"`{name}` does not go with `{several[0]}`.", "Leave one of them out.")
    if len(several) > 1:
        what = "`InstancePreferences` does not go with `InstanceGroups`."
        yield view.error((_RESOURCES, "InstancePreferences"), what, "Leave one of them out.")
    for name in () if several else ("InstanceType", "InstanceCount"):
        if name not in single:
            yield view.error((_RESOURCES, name), f"`{_RESOURCES}.{name}` is missing.", "Set it.")


def at_least_one_machine(view: RequestView) -> Iterator[Problem]:
    """A count of 0 passes the model, in which the shape is shared with other operations."""
    counts: list[Path] = [(_RESOURCES, "InstanceCount")]
    counts += [(*group, "InstanceCount") for group in view.items(_RESOURCES, "InstanceGroups")]
    for path in counts:
        if view.number(*path) == 0:
            yield view.error(path, "0 machines cannot train.", "Set at least 1.")


def preferences(view: RequestView) -> Iterator[Problem]:
    """API_ResourceConfig: preferences exclude spot and placement; the selected type is told, not asked for."""
    if view.at(_RESOURCES, "InstancePreferences") and view.flag("EnableManagedSpotTraining"):
        what = "`InstancePreferences` does not go with spot instances."
        yield view.error(("EnableManagedSpotTraining",), what, "Leave one of them out.")
    if view.at(_RESOURCES, "InstancePreferences") and view.mapping(_RESOURCES, "InstancePlacementConfig"):
        what = "`InstancePlacementConfig` does not go with `InstancePreferences`."
        yield view.error((_RESOURCES, "InstancePlacementConfig"), what, "Leave one of them out.")
    for name in ("SelectedInstanceType", "SelectedInstanceCount"):
        if view.at(_RESOURCES, name) is not None:
            yield view.error((_RESOURCES, name), f"`{name}` is for the service to tell.", "Leave it out.")


def group_names(view: RequestView) -> Iterator[Problem]:
    """A channel for some groups names groups that there are: dg/train-heterogeneous-cluster-configure."""
    groups = [((*group, "InstanceGroupName"), "") for group in view.items(_RESOURCES, "InstanceGroups")]
    named = [(path, view.text(*path)) for path, _ in groups]
    for path, name in repeated(iter(named)):
        yield view.error(path, f"two instance groups are named {shown(name)}.", "Rename one of them.")
    known = {name for _, name in named}
    for channel in view.items("InputDataConfig"):
        for path in view.items(*channel, "DataSource", "S3DataSource", "InstanceGroupNames"):
            if (name := view.text(*path)) and name not in known:
                what = f"the channel is for the instance group {shown(name)}, of which there is none."
                fix = (
                    f"Choose one of: {', '.join(map(shown, sorted(known)))}."
                    if known
                    else "Leave it out: there are no groups."
                )
                yield view.error(path, what, fix)


def waiting_for_spot(view: RequestView) -> Iterator[Problem]:
    """Spot needs a time to wait that is no shorter than the run, and nothing else may have one.

    dg/model-managed-spot-training; API_StoppingCondition; the service's "It is only supported when
    EnableManagedSpotTraining is set to true" is in https://github.com/Kenza-AI/sagify/issues/111.
    """
    path: Path = ("StoppingCondition", "MaxWaitTimeInSeconds")
    wait = view.number(*path)
    run = view.number("StoppingCondition", "MaxRuntimeInSeconds")
    if not view.flag("EnableManagedSpotTraining"):
        if wait is not None:
            yield view.error(path, "a time to wait goes with spot instances only.", "Leave it out, or ask for spot.")
    elif wait is None:
        what = "spot instances need the longest time that waiting and running may take together."
        yield view.error(path, what, "Set it to no less than the longest run.")
    elif wait < (_DAY_S if run is None else run):
        told = f"the default of {_DAY_S} s" if run is None else f"{run} s"
        what = f"{wait} s of waiting and running together is less than the longest run, {told}."
        yield view.error(path, what, "Raise it, or shorten the longest run.")


def longest_run(view: RequestView) -> Iterator[Problem]:
    """28 days: API_StoppingCondition."""
    path: Path = ("StoppingCondition", "MaxRuntimeInSeconds")
    run = view.number(*path)
    if run is not None and run > _LONGEST_RUN_S:
        yield view.error(path, f"{run} s is more than 28 days ({_LONGEST_RUN_S} s).", "Lower it.")


def checkpoints_with_spot(view: RequestView) -> Iterator[Problem]:
    """An interrupted spot job starts from the beginning without checkpoints: dg/model-managed-spot-training."""
    if not view.flag("EnableManagedSpotTraining") or view.uploads_checkpoints or view.mapping("CheckpointConfig"):
        return
    what = "no checkpoints are kept in S3: each interruption of a spot instance throws all progress away."
    yield view.doubt(("EnableManagedSpotTraining",), what, "Keep checkpoints, or do without spot.")


def volume(view: RequestView) -> Iterator[Problem]:
    """API_ResourceConfig: the disk is the machine's own where it has one, and otherwise must be asked for."""
    size_path, key_path = (_RESOURCES, "VolumeSizeInGB"), (_RESOURCES, "VolumeKmsKeyId")
    size = view.number(*size_path)
    for _, name in view.instance_types():
        machine = view.machines.get(name)
        if machine is None:
            continue
        if machine.nvme_gib == 0 and not size:
            yield view.error(size_path, f"{name} has no disk of its own, and no volume is asked for.", "Set its size.")
        elif machine.nvme_gib and (size or 0) > machine.nvme_gib:
            what = f"{size} GiB are asked for; {name} has {machine.nvme_gib} GiB of its own and gets no volume."
            yield view.doubt(size_path, what, "Choose a type with larger disks, or fewer data.")
        if machine.nvme_gib and view.text(*key_path):
            what = f"{name} has encrypted disks of its own, for which no key can be chosen."
            yield view.error(key_path, what, "Leave it out, or choose a type without local disks.")


def efa(view: RequestView) -> Iterator[Problem]:
    """Without the adapter libfabric finds no EFA provider, and NCCL's plugin fails: dg/your-algorithms-training-efa."""
    types = [name for _, name in view.instance_types()]
    if not types or not all(name in view.machines and not view.machines[name].efa for name in types):
        return
    for name, value in view.mapping("Environment").items():
        if name.startswith("FI_EFA_") or (name == "FI_PROVIDER" and value == "efa"):
            what = f"{shown(name)} is about EFA, which {' and '.join(sorted(set(types)))} lacks."
            yield view.error(("Environment", name), what, "Leave it out, or choose a type with EFA.")


def isolation(view: RequestView) -> Iterator[Problem]:
    """An isolated container reaches neither S3 nor SSM, and has no credentials: dg/mkt-algo-model-internet-free.

    Of remote debugging AWS says only that the agent in the container must reach SSM (dg/train-remote-debugging).
    """
    path: Path = ("EnableNetworkIsolation",)
    if not view.flag(*path):
        return
    if view.calls_out:
        what = f"an isolated container has no network, which is needed for {view.calls_out}."
        yield view.error(path, what, "Give up the isolation, or bring everything in through channels.")
    if view.flag("RemoteDebugConfig", "EnableRemoteDebug"):
        what = "remote debugging connects through SSM, which an isolated container cannot reach."
        yield view.doubt(("RemoteDebugConfig", "EnableRemoteDebug"), what, "Give up one of the two.")


def vpc(view: RequestView) -> Iterator[Problem]:
    """Identifiers in the form of API_VpcConfig, each once; the model takes any word."""
    for member, prefix, noun in (("Subnets", "subnet-", "subnet"), ("SecurityGroupIds", "sg-", "security group")):
        named = [(path, view.text(*path)) for path in view.items("VpcConfig", member)]
        for path, name in named:
            if name and not name.startswith(prefix):
                yield view.error(path, f"{shown(name)} is no {noun}.", f"Name it by its identifier, {prefix}….")
        for path, name in repeated(iter(named)):
            yield view.error(path, f"{shown(name)} is there twice.", "Take one out.")


RULES = (
    warm_pool,
    one_way_to_name_machines,
    at_least_one_machine,
    preferences,
    group_names,
    waiting_for_spot,
    longest_run,
    checkpoints_with_spot,
    volume,
    efa,
    isolation,
    vpc,
)
