"""What goes with which operator, and with Kueue."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtrain.plugin import Job, Problem, warning
from smtrain_hyperpod.eks import names
from smtrain_hyperpod.eks.options import EksOptions, Elastic


def problems(job: Job, options: EksOptions) -> Iterator[Problem]:
    """Yields which settings the operator does not have, and which contradict one another."""
    if options.operator == "hyperpod" and not options.hyperpod:
        what = "HyperPod's training operator is on HyperPod alone."
        yield Problem(key="backend.operator", what=what, fix="Set backend.operator=kubeflow, or backend.hyperpod=true.")
    yield from _only(options)
    yield from _kueue(options)
    yield from _log_rules(options)
    if options.elastic is not None and options.operator == "hyperpod":
        yield from _elastic(job, options.elastic)


def _only(options: EksOptions) -> Iterator[Problem]:
    restarts = options.restarts
    needs_hyperpod = {
        "backend.elastic": options.elastic is not None,
        "backend.spares": options.spares > 0,
        "backend.log_rules": bool(options.log_rules),
        "backend.restarts.before_full": restarts.before_full is not None,
        "backend.restarts.max_full": restarts.max_full is not None,
    }
    if options.operator == "kubeflow":
        for key, given in needs_hyperpod.items():
            if given:
                # An elastic PyTorchJob has no master, and its pods get no rank; the trainers' launchers need one.
                what = "A PyTorchJob of fixed ranks cannot do this."
                yield Problem(key=key, what=what, fix="Leave it out, or set backend.operator=hyperpod.")
    elif restarts.policy is not None:
        what = "HyperPod's operator restarts the processes in its pods, and has no policy for the pods."
        yield Problem(key="backend.restarts.policy", what=what, fix="Leave it out, or set backend.operator=kubeflow.")
    if options.deep_health_checked and not options.hyperpod:
        what = "Deep health checks are HyperPod's, so no node would be labelled by them."
        yield Problem(key="backend.deep_health_checked", what=what, fix="Leave it out, or set backend.hyperpod=true.")
    if restarts.policy == "Never" and restarts.max:
        what = f"{restarts.max} restarts are allowed, and the pods are never restarted."
        yield Problem(key="backend.restarts.policy", what=what, fix="Set it to OnFailure, or backend.restarts.max=0.")


def _kueue(options: EksOptions) -> Iterator[Problem]:
    kueue = options.kueue
    if kueue.queue is None:
        for name, given in (
            ("kueue.priority", kueue.priority is not None),
            ("kueue.preferred_topology", kueue.preferred_topology is not None),
            ("kueue.required_topology", kueue.required_topology is not None),
            ("spares", options.spares > 0),
        ):
            if given:
                what = "It is Kueue that heeds this, and the job is in no queue of it."
                yield Problem(
                    key=f"backend.{name}", what=what, fix="Set backend.kueue.queue, e.g. hyperpod-ns-TEAM-localqueue."
                )
    for name, value in (("queue", kueue.queue), ("priority", kueue.priority)):
        if value is not None and not (value and names.is_label_value(value)):
            what = f"{value!r} is no name of one: it goes into a label."
            yield Problem(key=f"backend.kueue.{name}", what=what, fix=names.VALUE_RULE)
    for name, value in (("preferred", kueue.preferred_topology), ("required", kueue.required_topology)):
        if value is not None and not names.is_label_key(value):
            what = f"{value!r} is no key of a label of nodes."
            yield Problem(key=f"backend.kueue.{name}_topology", what=what, fix=_TOPOLOGY)
    if kueue.preferred_topology is not None and kueue.required_topology is not None:
        what = "A topology is either preferred or required."
        yield Problem(key="backend.kueue.preferred_topology", what=what, fix="Leave one of the two out.")


def _log_rules(options: EksOptions) -> Iterator[Problem]:
    for name, rule in options.log_rules.items():
        key = f"backend.log_rules.{name}"
        for member, text in (("pattern", rule.pattern), ("until", rule.until)):
            try:
                re.compile(text or "")
            except re.error as error:
                yield Problem(
                    key=f"{key}.{member}", what=f"{text!r} is no regular expression: {error}.", fix="Correct it."
                )
        if (rule.threshold is None) != (rule.operator is None):
            what = "A number is judged by a threshold and an operator, of which one is missing."
            yield Problem(key=key, what=what, fix="Set both `threshold` and `operator`, or neither.")
        if rule.threshold is None and rule.first_within_s is None and rule.every_s is None:
            what = "The rule says neither when lines must come nor what their number must be, so it finds nothing."
            yield warning(key, what, "Set `first_within_s`, `every_s`, or `threshold` and `operator`.")


def _elastic(job: Job, elastic: Elastic) -> Iterator[Problem]:
    """SageMaker's guide, "Using elastic training": steps or values; the operator begins with spec.replicas."""
    nodes, key = job.topology.nodes, "backend.elastic"
    if job.run.strategy.kind.startswith("zero"):
        what = "AWS supports elastic training with DDP and FSDP; a DeepSpeed checkpoint is of so many processes."
        yield Problem(key=key, what=what, fix="Set strategy=ddp or strategy=fsdp, or keep the number of nodes.")
    if elastic.min_nodes > elastic.max_nodes:
        what = f"The least number of nodes, {elastic.min_nodes}, is above the most, {elastic.max_nodes}."
        yield Problem(
            key=f"{key}.min_nodes", what=what, fix=f"Set backend.elastic.min_nodes to {elastic.max_nodes} or less."
        )
    elif not elastic.min_nodes <= nodes <= elastic.max_nodes:
        what = f"The job begins with {nodes} nodes, and may have {elastic.min_nodes} to {elastic.max_nodes}."
        yield Problem(key="compute.nodes", what=what, fix="Set it to a number of that range, or widen backend.elastic.")
    if elastic.step is not None and elastic.values:
        what = "Nodes come in steps, or in numbers that are listed."
        yield Problem(key=f"{key}.step", what=what, fix="Leave `step` or `values` out.")
    elif elastic.step is not None and (elastic.max_nodes - nodes) % elastic.step:
        what = f"From {nodes} nodes in steps of {elastic.step}, {elastic.max_nodes} are never reached."
        yield Problem(key=f"{key}.step", what=what, fix="Choose a step that divides the difference.")
    outside = [str(value) for value in elastic.values if not elastic.min_nodes <= value <= elastic.max_nodes]
    if outside:
        what = f"{', '.join(outside)} is outside of {elastic.min_nodes} to {elastic.max_nodes}."
        yield Problem(key=f"{key}.values", what=what, fix="Leave it out, or widen the range.")
    elif elastic.values and nodes not in elastic.values:
        what = f"The job begins with {nodes} nodes, which are not among {', '.join(map(str, elastic.values))}."
        yield Problem(key="compute.nodes", what=what, fix="Choose one of those.")
    if job.batch.accumulation and not job.batch.by_tokens:
        what = f"A step takes {job.batch.global_size} samples on {nodes} nodes, and more or fewer on others."
        yield warning(key, what, "Choose a learning rate that bears it, or keep the number of nodes.")


_TOPOLOGY = "E.g. topology.k8s.aws/network-node-layer-3: nodes that are near one another share its value."
