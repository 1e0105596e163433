"""The whole life of a cluster on an endpoint of moto's: created, adopted, scaled, updated, reached, deleted."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from cluster_folder import BUCKET, name_of

from smtrain.console_view import Silence
from smtrain.manifest import read
from smtrain.passes.submit import submit

pytest_plugins = ("cluster_account",)


def operations(service, name):
    return [operation for operation, request in service.calls if request.get("ClusterName") == name]


def described(service, name):
    return service.client("sagemaker").describe_cluster(ClusterName=name)


def test_a_cluster_is_created_and_waited_for(account, here, cluster):
    answer = cluster("create")
    assert answer.code == 0, answer.err
    name = name_of(here)
    assert (
        f"{name}: Creating  controller 0/1  workers 0/2\n{name}: InService  controller 1/1  workers 2/2\n" in answer.out
    )
    assert described(account, name)["ClusterStatus"] == "InService"


def test_nodes_find_every_file_of_the_bundle_where_the_request_says(account, here, cluster):
    assert cluster("create", "cluster.users.ada.uid=2001").code == 0
    config = described(account, name_of(here))["InstanceGroups"][0]["LifeCycleConfig"]
    assert config["OnCreate"] == "on_create.sh"
    bucket, _, prefix = config["SourceS3Uri"].removeprefix("s3://").partition("/")
    s3 = account.client("s3")
    keys = {row["Key"] for row in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]}
    (written,) = (here / "clusters").glob("*/bundle/lifecycle")
    assert {key.removeprefix(f"{prefix}/") for key in keys} == {path.name for path in written.iterdir()}
    users = s3.get_object(Bucket=BUCKET, Key=f"{prefix}/shared_users.txt")["Body"].read()
    assert users == b"ada,2001,/home/ada\n"


def test_what_plan_wrote_is_what_create_sends(account, here, cluster):
    planned = cluster("plan", "--json").document
    (here / "base" / "on_create.sh").unlink()  # nothing but the plan's folder is read
    (here / "conf" / "cluster" / "mine.yaml").rename(here / "aside.yaml")
    answer = cluster("create", "--dir", planned["dir"], config=())
    assert answer.code == 0, answer.err
    sent = next(request for operation, request in reversed(account.calls) if operation == "CreateCluster")
    assert sent == planned["request"]


def test_a_plan_that_was_changed_is_not_sent(account, here, cluster):
    planned = cluster("plan", "--json").document
    path = here / planned["dir"] / "bundle" / "request.json"
    path.write_text(path.read_text().replace('"InstanceCount": 2', '"InstanceCount": 64'))
    answer = cluster("create", "--dir", planned["dir"], config=())
    assert answer.code == 2
    assert "is not what was compiled: request.json" in answer.err
    assert "CreateCluster" not in operations(account, planned["cluster"])


def test_the_same_cluster_is_created_once(account, here, cluster):
    assert cluster("create").code == 0
    again = cluster("create")
    assert again.code == 0
    assert "is there already, as it is asked for" in again.out
    assert operations(account, name_of(here)).count("CreateCluster") == 1


def test_another_cluster_of_that_name_is_told_apart(account, here, cluster):
    assert cluster("create").code == 0
    answer = cluster("create", "cluster.groups.workers.count=3", "cluster.node_recovery=none")
    assert answer.code == 5
    assert '- NodeRecovery: "Automatic", asked for is "None"' in answer.err
    assert "- group workers: InstanceCount: 2, asked for is 3" in answer.err
    assert "smtrain cluster update" in answer.err


def test_where_only_counts_differ_scale_is_the_way(account, here, cluster):
    assert cluster("create").code == 0
    answer = cluster("create", "cluster.groups.workers.count=3")
    assert "smtrain cluster scale" in answer.err


def test_a_cluster_that_fails_says_why_and_where_its_scripts_said_more(account, here, cluster):
    account.fail_next = "Lifecycle scripts did not run successfully."
    answer = cluster("create")
    assert answer.code == 1
    assert "Lifecycle scripts did not run successfully." in answer.out
    assert f"/aws/sagemaker/Clusters/{name_of(here)}/" in answer.out
    again = cluster("create")
    assert again.code == 5
    assert "it is Failed: Lifecycle scripts did not run" in again.err
    assert "smtrain cluster delete" in again.err


def test_status_tells_groups_and_nodes(account, here, cluster):
    cluster("create")
    told = cluster("status", "--json").document
    assert told["status"] == "InService"
    assert [(group["name"], group["current"], group["target"]) for group in told["groups"]] == [
        ("controller", 1, 1),
        ("workers", 2, 2),
    ]
    assert [node["group"] for node in told["nodes"]] == ["controller", "workers", "workers"]
    shown = cluster("status").out
    assert "workers: 2 of 2 × ml.g5.12xlarge  InService" in shown
    assert "ml.g5.12xlarge  Running" in shown


def test_a_node_that_failed_says_why(account, here, cluster):
    cluster("create")
    nodes = account._backend.clusters[name_of(here)].nodes.values()
    next(node for node in nodes if node.instance_group_name == "workers").status = "Failure"
    shown = cluster("status").out
    assert "ml.g5.12xlarge  Failure\n             message\n" in shown
    hosts = cluster("ssh-config", "--json").document["hosts"]
    assert len(hosts) == 2  # nobody can log in to it


def test_a_cluster_is_named_without_its_configuration(account, here, cluster):
    cluster("create")
    told = cluster("status", "--name", name_of(here), "--region", "us-east-1", "--json", config=()).document
    assert told["cluster"] == name_of(here)


def test_a_cluster_that_nobody_named_is_asked_for(account, here, cluster):
    answer = cluster("status", config=())
    assert answer.code == 2
    assert "--name NAME --region REGION" in answer.err


def test_status_waits_until_nothing_changes(account, here, cluster):
    assert cluster("create", "--detach").code == 0
    answer = cluster("status", "--wait")
    assert answer.code == 0
    assert "status     InService" in answer.out


def test_waiting_ends_when_it_is_told_to(account, here, cluster):
    account.capacity["workers"] = 1
    cluster("create")
    answer = cluster("scale", "cluster.groups.workers.count=3", "--timeout", "0.1")
    assert answer.code == 5
    assert "after 0.1 s." in answer.err


def test_scale_changes_counts_and_nothing_else(account, here, cluster):
    cluster("create")
    before = described(account, name_of(here))["InstanceGroups"]
    answer = cluster("scale", "cluster.groups.workers.count=4", "cluster.groups.workers.instance_type=ml.g5.48xlarge")
    assert answer.code == 0, answer.err
    assert "scale      workers: 2 → 4" in answer.out
    after = described(account, name_of(here))["InstanceGroups"]
    assert after == [before[0], {**before[1], "CurrentCount": 4, "TargetCount": 4}]
    sent = next(request for operation, request in reversed(account.calls) if operation == "UpdateCluster")
    assert [group["InstanceGroupName"] for group in sent["InstanceGroups"]] == ["workers"]


def test_scale_takes_counts_without_a_configuration(account, here, cluster):
    cluster("create")
    words = ("--name", name_of(here), "--region", "us-east-1", "--group", "workers=0")
    assert cluster("scale", *words, config=()).code == 0
    assert described(account, name_of(here))["InstanceGroups"][1]["TargetCount"] == 0


@pytest.mark.parametrize("word", ["workers", "workers=many", "=3", "workers=-1"])
def test_scale_refuses_what_is_no_count(word, account, here, cluster):
    cluster("create")
    answer = cluster("scale", "--group", word)
    assert answer.code == 2
    assert "--group NAME=COUNT" in answer.err


def test_scale_knows_the_groups_of_the_cluster(account, here, cluster):
    cluster("create")
    answer = cluster("scale", "--group", "worker=3")
    assert answer.code == 2
    assert "has no instance group `worker`" in answer.err
    assert "Did you mean `workers`?" in answer.err


def test_update_uploads_new_scripts_and_points_the_groups_there(account, here, cluster):
    cluster("create")
    before = described(account, name_of(here))["InstanceGroups"]
    answer = cluster("update", "cluster.users.ada.uid=2001")
    assert answer.code == 0, answer.err
    after = described(account, name_of(here))["InstanceGroups"]
    uris = {group["LifeCycleConfig"]["SourceS3Uri"] for group in after}
    assert len(uris) == 1
    assert uris.isdisjoint(group["LifeCycleConfig"]["SourceS3Uri"] for group in before)
    again = cluster("update", "cluster.users.ada.uid=2001")
    assert "is as it is asked for" in again.out


def test_update_adds_groups_and_deletes_them_only_when_told(account, here, cluster):
    cluster("create")
    added = "cluster.groups.more={instance_type:ml.g5.xlarge,count:1}"
    assert cluster("update", added).code == 0
    assert [group["InstanceGroupName"] for group in described(account, name_of(here))["InstanceGroups"]][-1] == "more"
    refused = cluster("update")
    assert refused.code == 2
    assert "The cluster has `more`, which the configuration has not." in refused.err
    assert cluster("update", "--delete-groups").code == 0
    assert len(described(account, name_of(here))["InstanceGroups"]) == 2


def test_update_says_what_no_update_changes(account, here, cluster):
    cluster("create")
    network = ("cluster.vpc.subnets=[subnet-0123]", "cluster.vpc.security_groups=[sg-0123]")
    answer = cluster("update", *network)
    assert answer.code == 2
    assert "No update of a cluster changes this." in answer.err
    assert "- VpcConfig" in answer.err
    assert "UpdateCluster" not in operations(account, name_of(here))


def test_delete_waits_until_the_cluster_is_gone(account, here, cluster):
    cluster("create")
    answer = cluster("delete")
    assert answer.code == 0
    assert "Deleting" in answer.out
    assert answer.out.endswith(": deleted\n")
    gone = cluster("status")
    assert gone.code == 5
    assert f"There is no cluster `{name_of(here)}` in us-east-1." in gone.err


def test_deleting_what_is_gone_is_no_failure(account, here, cluster):
    assert cluster("delete", "--json").document == {"cluster": name_of(here), "deleted": False}


def test_a_name_is_free_again_after_its_cluster_was_deleted(account, here, cluster):
    cluster("create")
    cluster("delete")
    assert cluster("create").code == 0
    assert operations(account, name_of(here)).count("CreateCluster") == 2


def test_a_create_whose_answer_was_lost_is_not_made_twice(account, here, cluster):
    account.refuse("CreateCluster", "ResourceInUse", "Resource Already Exists: of that name")
    try:
        first = cluster("create", "--detach")
    finally:
        account.refuse("CreateCluster", None)
    assert first.code == 5  # it is not there, whatever was said
    assert cluster("create").code == 0


def test_a_cluster_that_failed_since_it_was_looked_for_is_not_made_under_another_name(account, here, cluster):
    planned = cluster("plan", "--json").document
    account.fail_next = "no capacity"
    assert cluster("create").code == 1
    home = here / planned["dir"]
    submit(home, read(home / "bundle"), env=os.environ, observer=Silence())
    names = [row["ClusterName"] for row in account.client("sagemaker").list_clusters()["ClusterSummaries"]]
    assert [name for name in names if name.startswith(planned["cluster"])] == [planned["cluster"]]


def test_a_bundle_of_something_else_is_not_created(account, here, cluster):
    cluster("create")
    assert cluster("update", "cluster.users.ada.uid=2001").code == 0
    (home,) = (here / "clusters").glob("*-update-*")
    answer = cluster("create", "--dir", str(home), config=())
    assert answer.code == 2
    assert "creates no cluster" in answer.err


def test_a_refusal_is_told_in_the_service_s_words(account, here, cluster):
    account.refuse("CreateCluster", "ResourceLimitExceeded", "The account-level service limit is 0 Instances.")
    try:
        answer = cluster("create")
    finally:
        account.refuse("CreateCluster", None)
    assert answer.code == 5
    assert "The account-level service limit is 0 Instances." in answer.err
    assert "Service Quotas" in answer.err


def test_json_is_one_line_whatever_was_waited_for(account, here, cluster):
    told = cluster("create", "--json").document
    assert told["status"] == "InService"
    assert json.dumps(told)


def test_edited_base_scripts_are_another_cluster(account, here, cluster):
    cluster("create")
    (here / "base" / "lifecycle_script.py").write_text("print('another')\n")
    answer = cluster("create")
    assert answer.code == 5
    assert "LifeCycleConfig.SourceS3Uri" in answer.err
