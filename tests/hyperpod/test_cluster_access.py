"""Reaching the nodes: entries for ssh, read by ssh itself, and what EC2 says of the network."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from cluster_folder import name_of
from smtrain_hyperpod.cluster import network_findings, ssh_config, storage_findings
from smtrain_hyperpod.cluster.account import Node
from smtrain_hyperpod.cluster.options import ClusterOptions, Lustre
from smtrain_hyperpod.cluster.ssh_config import Access

pytest_plugins = ("cluster_account",)

NODES = (
    Node(group="controller", instance_id="i-0c", instance_type="ml.m5.xlarge", status="Running", message="", host=""),
    Node(group="workers", instance_id="i-0a", instance_type="ml.g5.xlarge", status="Running", message="", host=""),
    Node(group="workers", instance_id="i-0b", instance_type="ml.g5.xlarge", status="Running", message="", host=""),
)
ACCESS = Access(cluster="ml", cluster_id="abc123", region="us-west-2", user="ubuntu")
KINDS = {"controller": "controller", "workers": "compute"}


def as_ssh_reads_it(text, host, folder):
    """Returns key → value of what ssh would do for a host."""
    path = folder / "ssh_config"
    path.write_text(text)
    done = subprocess.run(("ssh", "-G", "-F", str(path), host), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.needs_program("ssh")
def test_ssh_reaches_a_node_through_systems_manager(tmp_path):
    read = as_ssh_reads_it(ssh_config.text(ACCESS, NODES, KINDS), "ml-workers-2", tmp_path)
    assert read["user"] == "ubuntu"
    assert read["hostkeyalias"] == "i-0b"
    assert read["proxycommand"] == (
        "aws ssm start-session --region us-west-2 --target sagemaker-cluster:abc123_workers-i-0b "
        "--document-name AWS-StartSSHSession --parameters portNumber=%p"
    )


@pytest.mark.needs_program("ssh")
def test_the_cluster_s_own_name_is_where_people_log_in(tmp_path):
    text = ssh_config.text(ACCESS, NODES, KINDS)
    assert "controller-i-0c" in as_ssh_reads_it(text, "ml", tmp_path)["proxycommand"]
    with_login = ssh_config.text(ACCESS, NODES, {**KINDS, "workers": "login"})
    assert "workers-i-0a" in as_ssh_reads_it(with_login, "ml", tmp_path)["proxycommand"]


@pytest.mark.needs_program("ssh")
def test_a_profile_and_a_key_get_to_the_aws_cli_and_to_ssh(tmp_path):
    access = Access(
        cluster="ml", cluster_id="abc123", region="us-west-2", user="ada", profile="my team", identity="/keys/my key"
    )
    read = as_ssh_reads_it(ssh_config.text(access, NODES, KINDS), "ml", tmp_path)
    assert "--profile 'my team' --region" in read["proxycommand"]
    assert read["identityfile"] == "/keys/my key"
    assert read["user"] == "ada"


def test_the_command_takes_the_id_from_the_arn_and_the_kinds_from_the_configuration(account, here, cluster):
    cluster("create")
    told = cluster("ssh-config", "--json").document
    name = name_of(here)
    arn = account.client("sagemaker").describe_cluster(ClusterName=name)["ClusterArn"]
    assert f"--target sagemaker-cluster:{arn.rpartition('/')[2]}_controller-i-" in told["text"]
    assert f"Host {name} {name}-controller-1\n" in told["text"]
    assert [row["host"] for row in told["hosts"]] == [
        f"{name}-{node}" for node in ("controller-1", "workers-1", "workers-2")
    ]


@pytest.mark.parametrize("flag", ["--user=-oProxyCommand=id", '--identity=a"b', "--profile=a\nHost *"])
def test_what_no_line_of_ssh_config_can_hold_is_refused(flag, account, here, cluster):
    answer = cluster("ssh-config", flag)
    assert answer.code == 2
    assert "no line of ssh_config can hold" in answer.err


def test_the_entries_are_written_to_a_file_that_ssh_includes(account, here, cluster):
    cluster("create")
    answer = cluster("ssh-config", "-o", "entries")
    assert f"Include {here / 'entries'}" in answer.out
    assert (here / "entries").read_text().startswith("# Nodes of HyperPod cluster")


# ------------------------------------------------------------------------------------------------------- the network


@pytest.fixture
def network(account):
    """Makes a VPC, and functions that make subnets and security groups in it."""
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    numbers = iter(range(250))

    class Network:
        def subnet(self, *, public=False):
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{next(numbers)}.0/24", AvailabilityZone="us-east-1a")
            name = made["Subnet"]["SubnetId"]
            ec2.modify_subnet_attribute(SubnetId=name, MapPublicIpOnLaunch={"Value": public})
            return name

        def group(self, *, itself=True):
            name = ec2.create_security_group(VpcId=vpc, GroupName=f"g{next(numbers)}", Description="d")["GroupId"]
            if itself:
                rule = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": name}]}]
                ec2.authorize_security_group_ingress(GroupId=name, IpPermissions=rule)
                ec2.authorize_security_group_egress(GroupId=name, IpPermissions=rule)
            return name

    return Network()


def findings(subnet, group, instance_type="ml.p4d.24xlarge"):
    cluster = {
        "name": "ml",
        "region": "us-east-1",
        "role": "arn:aws:iam::123456789012:role/hyperpod",
        "groups": {"workers": {"instance_type": instance_type}},
        "vpc": {"subnets": [subnet], "security_groups": [group]},
    }
    found = list(network_findings.findings(msgspec.convert(cluster, ClusterOptions)))
    return {each.finding.subject: each.finding for each in found}


def test_a_good_network_is_called_good(network):
    found = findings(network.subnet(), network.group())
    assert (found["subnet"].good, found["firewall"].good) == (True, True)


def test_a_public_subnet_is_called_bad(network):
    found = findings(network.subnet(public=True), network.group())["subnet"]
    assert found.good is False
    assert "is public" in found.what


def test_a_group_that_does_not_let_itself_through_is_bad_where_there_is_efa(network):
    group = network.group(itself=False)
    with_efa = findings(network.subnet(), group)["firewall"]
    assert with_efa.good is False
    assert "no rule that lets all traffic in and out among its members, which EFA needs" in with_efa.what
    assert findings(network.subnet(), group, "ml.m5.xlarge")["firewall"].good is None


def test_a_group_that_lets_another_through_does_not_let_itself_through(account, network):
    group, other = network.group(itself=False), network.group()
    rule = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": other}]}]
    ec2 = account.client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=rule)
    assert findings(network.subnet(), group)["firewall"].good is False


def test_what_is_not_there_is_called_bad(network):
    found = findings("subnet-0123456789abcdef0", network.group())["network"]
    assert found.good is False
    assert "subnet-0123456789abcdef0" in found.what


def test_what_may_not_be_seen_is_called_unknown(account, network, monkeypatch):
    from smtrain.aws import RefusedError
    from smtrain.aws.client import Client
    from smtrain.errors import Problem

    def refused(self, operation, **_):
        raise RefusedError(
            Problem(key="", what="no"), error_code="UnauthorizedOperation", message="no", operation=operation
        )

    monkeypatch.setattr(Client, "call", refused)
    found = findings("subnet-1", "sg-1")["network"]
    assert found.good is None
    assert "ec2:DescribeSubnets" in found.fix


@pytest.fixture
def lustre(account, network):
    """Makes a file system of FSx for Lustre."""
    fsx = account.client("fsx")
    made = fsx.create_file_system(FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[network.subnet()])
    return fsx.describe_file_systems(FileSystemIds=[made["FileSystem"]["FileSystemId"]])["FileSystems"][0]


def storage(**said):
    cluster = {
        "name": "ml",
        "region": "us-east-1",
        "role": "arn:aws:iam::123456789012:role/hyperpod",
        **({"fsx": {"lustre": said}} if said else {}),
    }
    (found,) = storage_findings.findings(msgspec.convert(cluster, ClusterOptions))
    return found


def test_a_file_system_that_is_there_as_it_is_said_is_good(lustre):
    told = {**lustre, "LustreConfiguration": {"MountName": "right"}}  # of which moto says nothing
    said = msgspec.convert({"dns_name": lustre["DNSName"], "mount_name": "right"}, Lustre)
    found = storage_findings._compared(said, told)
    assert [each.finding.good for each in found] == [True]


def test_another_mount_name_is_told_with_the_right_one(lustre):
    told = {**lustre, "LustreConfiguration": {"MountName": "right"}}
    said = msgspec.convert({"dns_name": lustre["DNSName"], "mount_name": "wrong"}, Lustre)
    (found,) = storage_findings._compared(said, told)
    assert (found.key, found.finding.fix) == (
        "cluster.fsx.lustre.mount_name",
        "Set cluster.fsx.lustre.mount_name=right",
    )


def test_another_dns_name_is_told_with_the_right_one(lustre):
    dns_name = f"{lustre['FileSystemId']}.fsx.eu-west-1.amazonaws.com"
    found = storage(dns_name=dns_name, mount_name="a")
    assert (found.finding.good, found.key) == (False, "cluster.fsx.lustre.dns_name")
    assert lustre["DNSName"] in found.finding.fix


def test_a_file_system_that_is_not_there_is_called_bad(account):
    assert storage(dns_name="fs-0123456789abcdef0.fsx.us-east-1.amazonaws.com", mount_name="a").finding.good is False


def test_no_file_system_is_what_aws_s_validation_refuses_and_its_base_does_without(account):
    found = storage()
    assert found.finding.good is None
    assert "does without" in found.finding.what


def test_create_refuses_what_aws_s_own_validation_would(network, here, cluster):
    said = (f"cluster.vpc.subnets=[{network.subnet(public=True)}]", f"cluster.vpc.security_groups=[{network.group()}]")
    answer = cluster("create", *said)
    assert answer.code == 2
    assert "is public" in answer.err
    assert "override `cluster.vpc.s" in answer.err
    assert cluster("create", "--no-validate", *said).code == 0


def test_a_type_that_the_zone_has_not_is_called_bad(network):
    found = findings(network.subnet(), network.group(), "ml.p6-b200.48xlarge")
    assert found["zone"].good is False
    assert "There is no p6-b200.48xlarge in us-east-1a." in found["zone"].what


def test_validate_says_what_it_found(network, here, cluster):
    said = (f"cluster.vpc.subnets=[{network.subnet(public=True)}]", f"cluster.vpc.security_groups=[{network.group()}]")
    answer = cluster("validate", *said)
    assert answer.code == 2
    assert "subnet     bad: " in answer.out
    told = cluster("validate", *said, "--json").document
    assert {(row["subject"], row["good"]) for row in told} >= {("subnet", False), ("firewall", True)}
