"""Kubeflow's training operator v1, and its PyTorchJob; it tells a pod its rank in the environment.

Source: github.com/kubeflow/trainer v1.9.4, pkg/controller.v1/pytorch/envvar.go and pkg/webhooks/pytorch; for HyperPod's
auto-resume, docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-eks-resiliency-auto-resume.
"""

from __future__ import annotations

from smtrain.plugin import BundleFile, Job, Json
from smtrain_hyperpod.eks import container, layout, names, pod
from smtrain_hyperpod.eks.operator import Maps
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.statements import stated

MASTER_PORT = 23456
"""The operator's own default, under the name by which it finds the port."""

AUTO_RESUME = "sagemaker.amazonaws.com/enable-job-auto-resume"
RETRIES = "sagemaker.amazonaws.com/job-max-retry-count"
HEALTH = "sagemaker.amazonaws.com/node-health-status"

_NODE = """\
# RANK is the pod's, and WORLD_SIZE counts pods, since the job says no nprocPerNode.
SMTRAIN_NODE_RANK=${RANK:?is set by the training operator}
SMTRAIN_NUM_NODES=$WORLD_SIZE
SMTRAIN_MASTER_ADDR=$MASTER_ADDR
SMTRAIN_MASTER_PORT=$MASTER_PORT"""


class KubeflowOperator:
    """Makes a PyTorchJob: the first node is its master, the others are its workers."""

    kind = "PyTorchJob"
    resource = "pytorchjobs.kubeflow.org"
    schema = "pytorchjob-v1.json"
    node = _NODE

    def told(self, rank: int, nodes: int, address: str, port: int) -> dict[str, str]:
        """Returns what the operator puts into a pod's environment."""
        elastic = {"PET_NNODES": str(nodes), "PET_NODE_RANK": str(rank), "PYTHONUNBUFFERED": "1"}
        meeting = {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
        return {"RANK": str(rank), "WORLD_SIZE": str(nodes), **meeting, **elastic}

    def longest_name(self, nodes: int) -> int:
        """Returns how long a job's name may be: each pod has a Service of its own, named after both."""
        return names.LONGEST_LABEL - max(len("-master-0"), len(f"-worker-{max(nodes - 2, 0)}"))

    def scripts(self, options: EksOptions) -> tuple[BundleFile, ...]:
        """Returns nothing: a pod starts launch.sh."""
        del options
        return ()

    def manifest(self, job: Job, options: EksOptions, maps: Maps) -> dict[str, Json]:
        """Returns the job."""
        resumes = options.hyperpod and options.restarts.max > 0
        own = container.container(
            job, options, command=("bash", f"{layout.BUNDLE}/launch.sh"), ports={"pytorchjob-port": MASTER_PORT}
        )
        healthy = {HEALTH: "Schedulable"} if options.hyperpod else {}
        template = pod.template(job, options, maps, container=own, nodes=healthy)
        restart = options.restarts.policy or ("OnFailure" if options.restarts.max else "Never")
        replicas: dict[str, Json] = {
            name: {"replicas": count, "restartPolicy": restart, "template": template}
            for name, count in (("Master", 1), ("Worker", job.topology.nodes - 1))
            if count
        }
        return {
            "apiVersion": "kubeflow.org/v1",
            "kind": self.kind,
            "metadata": pod.job_metadata(
                options, {AUTO_RESUME: "true", RETRIES: str(options.restarts.max)} if resumes else {}
            ),
            "spec": {
                "runPolicy": stated(
                    {
                        "cleanPodPolicy": "None" if options.keep_pods else "All",
                        "backoffLimit": options.restarts.max,
                        "activeDeadlineSeconds": options.max_run_s,
                        "ttlSecondsAfterFinished": options.keep_s,
                    }
                ),
                "pytorchReplicaSpecs": replicas,
            },
        }
