"""What the operators are given: replicas, devices, places, volumes, secrets, restarts."""

from __future__ import annotations

import pytest
from eks_jobs import FSX, KUBEFLOW, at, container, environment, files, manifest, pod, template


@pytest.mark.parametrize("operator", ["hyperpod", "kubeflow"])
def test_each_pod_asks_for_the_gpus_and_efa_devices_of_its_instance_type(operator: str) -> None:
    several = (f"backend.operator={operator}", "compute.nodes=2", "strategy=ddp")
    resources = container(*several)["resources"]
    assert at(resources, "limits") == {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 4}
    assert at(resources, "requests") == at(resources, "limits")
    assert at(pod(*several), "nodeSelector", "node.kubernetes.io/instance-type") == "ml.p4d.24xlarge"


def test_a_single_node_asks_for_no_efa_device_unless_told_to() -> None:
    assert at(container("strategy=ddp"), "resources", "limits") == {"nvidia.com/gpu": 8}
    assert at(container("strategy=ddp", "++backend.efa=4"), "resources", "limits", "vpc.amazonaws.com/efa") == 4


def test_a_pytorchjob_has_one_master_and_the_other_nodes_as_workers() -> None:
    spec = manifest(KUBEFLOW, "compute.nodes=3", "strategy=ddp")["spec"]
    assert at(spec, "pytorchReplicaSpecs", "Master", "replicas") == 1
    assert at(spec, "pytorchReplicaSpecs", "Worker", "replicas") == 2
    assert at(spec, "pytorchReplicaSpecs", "Master", "template") == at(
        spec, "pytorchReplicaSpecs", "Worker", "template"
    )
    # With it, WORLD_SIZE would count processes, and launch.sh would take it for the number of nodes.
    assert at(spec, "nprocPerNode") is None
    assert at(manifest(KUBEFLOW, "strategy=ddp"), "spec", "pytorchReplicaSpecs", "Worker") is None


def test_a_hyperpodpytorchjob_starts_the_operators_agent_which_starts_one_process_a_pod() -> None:
    job = manifest("compute.nodes=2", "strategy=ddp")
    assert at(job, "spec", "nprocPerNode") == "1"
    assert at(job, "spec", "replicaSpecs", 0, "replicas") == 2
    assert container("strategy=ddp")["command"] == ["bash", "/opt/smtrain/pod.sh"]
    assert at(container("strategy=ddp"), "ports", 0, "containerPort") == 8080
    assert environment("compute.nodes=2", "strategy=ddp")["NNODES"] == "2"
    script = files("strategy=ddp")["pod.sh"].decode()
    assert "--nproc-per-node=1" in script
    assert "--no-python bash" in script


def test_queue_and_priority_are_labels_of_the_job_and_topology_is_an_annotation_of_its_pods() -> None:
    words = ("strategy=ddp", "backend.kueue.queue=team-queue", "backend.kueue.priority=high")
    words += ("backend.kueue.required_topology=topology.k8s.aws/network-node-layer-3",)
    labels = at(manifest(*words), "metadata", "labels")
    assert at(labels, "kueue.x-k8s.io/queue-name") == "team-queue"
    assert at(labels, "kueue.x-k8s.io/priority-class") == "high"
    layer = "topology.k8s.aws/network-node-layer-3"
    assert at(template(*words), "metadata", "annotations") == {"kueue.x-k8s.io/podset-required-topology": layer}
    # Kueue might take pods with a queue of their own for jobs of their own.
    assert at(template(*words), "metadata", "labels", "kueue.x-k8s.io/queue-name") is None


def test_job_and_pods_are_found_by_one_label() -> None:
    job = manifest("strategy=ddp")
    name = at(job, "metadata", "name")
    assert at(job, "metadata", "labels", "app.kubernetes.io/instance") == name
    assert at(template("strategy=ddp"), "metadata", "labels", "app.kubernetes.io/instance") == name


def test_volumes_are_claims_folders_of_the_node_and_memory() -> None:
    words = ("strategy=ddp", FSX, "backend.scratch.host_path=/opt/dlami/nvme", "++backend.shm_gib=64")
    volumes = pod(*words)["volumes"]
    assert isinstance(volumes, list)
    by_name = {str(at(volume, "name")): volume for volume in volumes}
    assert at(by_name["fsx"], "persistentVolumeClaim", "claimName") == "fsx-claim"
    assert at(by_name["smtrain-scratch"], "hostPath", "path") == "/opt/dlami/nvme"
    assert at(by_name["smtrain-shm"], "emptyDir") == {"medium": "Memory", "sizeLimit": "64Gi"}
    mounts = container(*words)["volumeMounts"]
    assert {"name": "fsx", "mountPath": "/fsx"} in mounts  # type: ignore[operator]
    # Otherwise the pods of other runs, on the same node, would write into the same folder.
    assert {"name": "smtrain-scratch", "mountPath": "/scratch", "subPathExpr": "$(SMTRAIN_HOST)"} in mounts  # type: ignore[operator]


def test_a_secret_is_a_reference_and_its_value_is_kept_out_of_messages() -> None:
    words = ("strategy=ddp", "++backend.secrets.HF_TOKEN=hub/token")
    assert environment(*words)["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert b'"HF_TOKEN": "env:HF_TOKEN"' in files(*words)["agent.json"]


def test_a_value_of_the_environment_is_taken_as_it_is() -> None:
    words = ("strategy=ddp", "++backend.environment.GREETING='it is $(HOME) for $5'")
    assert environment(*words)["GREETING"] == "it is $$(HOME) for $$5"


def test_pull_secrets_service_account_tolerations_and_selector_reach_the_pods() -> None:
    found = pod(
        "strategy=ddp",
        "backend.pull_secrets=[registry]",
        "backend.tolerations=[{key: sagemaker.amazonaws.com/node, effect: NoSchedule}, {key: team, value: nlp}]",
        "++backend.node_selector={zone: a}",
        "++backend.deep_health_checked=true",
        "++backend.priority_class=high",
        "++backend.host_network=true",
    )
    assert found["imagePullSecrets"] == [{"name": "registry"}]
    assert found["serviceAccountName"] == "trainer"
    assert found["tolerations"] == [
        {"key": "sagemaker.amazonaws.com/node", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "nlp"},
    ]
    assert at(found["nodeSelector"], "zone") == "a"
    assert at(found["nodeSelector"], "sagemaker.amazonaws.com/deep-health-check-status") == "Passed"
    assert found["priorityClassName"] == "high"
    assert found["dnsPolicy"] == "ClusterFirstWithHostNet"


def test_restarts_are_the_operators_own() -> None:
    restarts = ("strategy=ddp", "backend.restarts.max=3")
    policy = at(manifest(*restarts, "++backend.restarts.max_full=1"), "spec", "runPolicy")
    assert at(policy, "jobMaxRetryCount") == 3
    assert at(policy, "restartPolicy") == {"evalPeriodSeconds": 21600, "maxFullJobRestarts": 1}
    job = manifest(KUBEFLOW, *restarts)
    assert at(job, "spec", "runPolicy", "backoffLimit") == 3
    assert at(job, "spec", "pytorchReplicaSpecs", "Master", "restartPolicy") == "OnFailure"
    assert at(job, "metadata", "annotations", "sagemaker.amazonaws.com/enable-job-auto-resume") == "true"
    plain = ("backend.hyperpod=false", "compute.instance_type=p4d.24xlarge")
    assert at(manifest(KUBEFLOW, *restarts, *plain), "metadata", "annotations") is None


def test_ended_pods_are_kept_for_their_logs_and_the_job_for_a_week() -> None:
    assert at(manifest("strategy=ddp"), "spec", "runPolicy", "cleanPodPolicy") == "None"
    assert at(manifest("strategy=ddp"), "spec", "runPolicy", "ttlSecondsAfterFinished") == 604_800
    # HyperPod's default is to remove a job as soon as it has ended.
    assert at(manifest("strategy=ddp", "++backend.keep_s=null"), "spec", "runPolicy", "ttlSecondsAfterFinished") == -1


def test_an_elastic_job_says_its_range() -> None:
    elastic = "++backend.elastic={min_nodes: 1, max_nodes: 4, step: 1, scaling_timeout_s: 600}"
    spec = manifest("strategy=ddp", "compute.nodes=2", elastic)["spec"]
    assert at(spec, "replicaSpecs", 0, "maxReplicas") == 4
    assert at(spec, "elasticPolicy") == {
        "minReplicas": 1, "maxReplicas": 4, "replicaIncrementStep": 1, "scalingTimeoutInSeconds": 600,
    }  # fmt: skip


def test_results_in_s3_are_the_agents_and_results_on_a_volume_lie_in_place() -> None:
    name = at(manifest("strategy=ddp"), "metadata", "name")
    assert environment("strategy=ddp")["SMTRAIN_OUTPUT_URI"] == f"s3://bucket/runs/{name}"
    words = ("strategy=ddp", FSX, "storage.output=/fsx/runs")
    assert "SMTRAIN_OUTPUT_URI" not in environment(*words)
    name = at(manifest(*words), "metadata", "name")
    assert f"SMTRAIN_OUTPUT_DIR=${{SMTRAIN_OUTPUT_DIR:-/fsx/runs/{name}}}" in files(*words)["launch.sh"].decode()
