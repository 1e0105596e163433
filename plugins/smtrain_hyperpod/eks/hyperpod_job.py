"""HyperPod's training operator, and its HyperPodPyTorchJob.

It tells a pod its rank over HTTP. AWS's elastic agent (`hyperpodrun`) takes that call, and starts launch.sh as the one
process of the pod; the rank of the process is that of the pod.

Source: PyPI hyperpod-elastic-agent 1.1.3, server/api_models.py and rendezvous/hyperpod_rendezvous_backend.py; PyPI
sagemaker-hyperpod 3.12.0; docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-eks-operator-usage.
"""

from __future__ import annotations

import shlex

from smtrain.plugin import BundleFile, Job, Json
from smtrain_hyperpod.eks import container, launch, layout, pod
from smtrain_hyperpod.eks.operator import Maps
from smtrain_hyperpod.eks.options import EksOptions, LogRule
from smtrain_hyperpod.eks.statements import stated

ELASTIC_AGENT = "hyperpod-elastic-agent==1.1.3"
"""AWS's, on PyPI: what the operator talks to in each pod."""

_NEEDED = ("fastapi>=0.113.0", "uvicorn>=0.30.6", "psutil")
"""What it needs beside torch; its own bound on torch would replace the image's."""

AGENT_PORT = 8080
"""On which it listens, and the operator calls."""

LONGEST_NAME = 52
"""Pods are those of a StatefulSet, whose revisions are a label of name, dash and ten digits (kubernetes#64023)."""

_POD = """\
# The operator calls the elastic agent at its port, with the rank of this pod; that starts launch.sh, and starts it
# again after a fault somewhere. To it a pod has one process: the trainer's own launcher starts those of the GPUs.
{have_agent}
mkdir -p -- "${{SMTRAIN_AGENT_LOGS:=/tmp/hyperpod}}"
exec "$SMTRAIN_PYTHON" -m hyperpod_elastic_agent.run --nnodes="$NNODES" --nproc-per-node=1 \\
  --server-host="${{SMTRAIN_AGENT_HOST:-0.0.0.0}}" --server-port="${{SMTRAIN_AGENT_PORT:-{port}}}" \\
  --tee=3 --log-dir="$SMTRAIN_AGENT_LOGS" --shutdown-signal=SIGTERM --shutdown-timeout={shutdown_s} \\
  --no-python bash "$SMTRAIN_BUNDLE/launch.sh"
"""

_INSTALL = """\
if ! "$SMTRAIN_PYTHON" -c 'import hyperpod_elastic_agent' 2>/dev/null; then
  pip() {{ "$SMTRAIN_PYTHON" -m pip install --quiet --no-input --disable-pip-version-check {index}"$@"; }}
  {{ pip {needed} && pip --no-deps {agent}; }} ||
    refuse 69 "{agent} could not be installed: put it into the image"
fi"""

_REQUIRE = """\
"$SMTRAIN_PYTHON" -c 'import hyperpod_elastic_agent' ||
  refuse 69 "the image has no {agent}, and backend.install.mode=never installs nothing\""""

_WORKS = """\
# With torch 2.12 and newer, version 1.1.3 ends here: both have an option --shutdown-timeout.
"$SMTRAIN_PYTHON" -m hyperpod_elastic_agent.run --help >/dev/null ||
  refuse 69 "{agent} does not start: it needs a torch older than 2.12; or set backend.operator=kubeflow\""""

_NODE = """\
# What hyperpodrun gives its processes, of which a pod has one; the operator may have ranked the pods anew.
SMTRAIN_NODE_RANK=${GROUP_RANK:?is set by hyperpodrun}
SMTRAIN_NUM_NODES=$GROUP_WORLD_SIZE
SMTRAIN_MASTER_ADDR=$MASTER_ADDR
SMTRAIN_MASTER_PORT=$MASTER_PORT"""


class HyperPodOperator:
    """Makes a HyperPodPyTorchJob."""

    kind = "HyperPodPyTorchJob"
    resource = "hyperpodpytorchjobs.sagemaker.amazonaws.com"
    schema = "hyperpodpytorchjob-v1.json"
    node = _NODE

    def told(self, rank: int, nodes: int, address: str, port: int) -> dict[str, str]:
        """Returns what hyperpodrun gives the one process of a pod."""
        own = {"GROUP_RANK": str(rank), "GROUP_WORLD_SIZE": str(nodes), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        meeting = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "TORCHELASTIC_RESTART_COUNT": "0"}
        return {"RANK": str(rank), "WORLD_SIZE": str(nodes), **own, **meeting}

    def longest_name(self, nodes: int) -> int:
        """Returns how long a job's name may be."""
        del nodes
        return LONGEST_NAME

    def scripts(self, options: EksOptions) -> tuple[BundleFile, ...]:
        """Returns pod.sh, which hands over to hyperpodrun."""
        return (BundleFile(path="pod.sh", content=_pod_sh(options).encode(), executable=True),)

    def manifest(self, job: Job, options: EksOptions, maps: Maps) -> dict[str, Json]:
        """Returns the job."""
        nodes, elastic = job.topology.nodes, options.elastic
        own = container.container(
            job,
            options,
            command=("bash", f"{layout.BUNDLE}/pod.sh"),
            ports={"agent": AGENT_PORT},
            env={"NNODES": str(nodes)},
        )
        replicas: dict[str, Json] = {
            "name": "pods",
            "replicas": nodes,
            "maxReplicas": elastic.max_nodes if elastic else None,
            "spares": options.spares or None,
            "template": pod.template(job, options, maps, container=own),
        }
        return {
            "apiVersion": "sagemaker.amazonaws.com/v1",
            "kind": self.kind,
            "metadata": pod.job_metadata(options),
            "spec": stated(
                {
                    # Processes of the operator's, that is; the GPUs' are the trainer's launcher's.
                    "nprocPerNode": "1",
                    "runPolicy": _run_policy(options),
                    "elasticPolicy": _elastic_policy(options),
                    "replicaSpecs": [stated(replicas)],
                }
            ),
        }


def _pod_sh(options: EksOptions) -> str:
    index = f"--index-url {shlex.quote(options.install.index_url)} " if options.install.index_url else ""
    have = _REQUIRE if options.install.mode == "never" else _INSTALL
    have = f"{have}\n{_WORKS}".format(agent=ELASTIC_AGENT, needed=shlex.join(_NEEDED), index=index)
    body = _POD.format(have_agent=have, port=AGENT_PORT, shutdown_s=options.grace_s + pod.LAST_WORDS_S // 2)
    head = launch.header("The entry point of the container: hands over to the agent of the operator.", options)
    return f"{head}\n\n{body}"


def _run_policy(options: EksOptions) -> dict[str, Json]:
    restarts = options.restarts
    limited = restarts.before_full is not None or restarts.max_full is not None
    snooze_s = options.elastic.snooze_s if options.elastic else None
    policy = stated(
        {
            "evalPeriodSeconds": restarts.period_s,
            "numRestartBeforeFullJobRestart": restarts.before_full,
            "maxFullJobRestarts": restarts.max_full,
            "scaleUpSnoozeTimeInSeconds": snooze_s,
        }
    )
    return stated(
        {
            "cleanPodPolicy": "None" if options.keep_pods else "All",
            "jobMaxRetryCount": restarts.max,
            "restartPolicy": policy if limited or snooze_s else None,
            "activeDeadlineSeconds": options.max_run_s,
            "ttlSecondsAfterFinished": -1 if options.keep_s is None else options.keep_s,
            "logMonitoringConfiguration": [_log_rule(name, rule) for name, rule in options.log_rules.items()],
        }
    )


def _log_rule(name: str, rule: LogRule) -> Json:
    return stated(
        {
            "name": name,
            "logPattern": rule.pattern,
            "expectedStartCutOffInSeconds": rule.first_within_s,
            "expectedRecurringFrequencyInSeconds": rule.every_s,
            "metricThreshold": rule.threshold,
            "operator": rule.operator,
            "metricEvaluationDataPoints": rule.times,
            "stopPattern": rule.until,
        }
    )


def _elastic_policy(options: EksOptions) -> dict[str, Json] | None:
    elastic = options.elastic
    if elastic is None:
        return None
    return stated(
        {
            "minReplicas": elastic.min_nodes,
            "maxReplicas": elastic.max_nodes,
            "replicaIncrementStep": elastic.step,
            "replicaDiscreteValues": list(elastic.values),
            "scalingTimeoutInSeconds": elastic.scaling_timeout_s,
            "gracefulShutdownTimeoutInSeconds": elastic.shutdown_timeout_s,
        }
    )
