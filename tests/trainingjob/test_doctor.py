"""What the doctor finds in an account that is as it must be, and in one that is not; it changes nothing there."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from launching import job
from smtrain_trainingjob.doctor.doctor import diagnose
from smtrain_trainingjob.options import TrainingJobOptions
from submitted_runs import BUCKET, REGION, request_of

from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import Bundle, BundleFile, Expect, Upload

pytest_plugins = ("sagemaker_account",)

IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/team/train:v1"
POLICY = {"Version": "2012-10-17", "Statement": []}


@contextmanager
def quotas(monkeypatch, **values):
    """Serves Service Quotas, which moto does not have: quota (with `_` for a blank) → value."""
    rows = [
        {"QuotaName": name.replace("__", ".").replace("_", " "), "Value": value, "QuotaCode": f"L-{number}"}
        for number, (name, value) in enumerate(values.items())
    ]
    others = [{"QuotaName": f"ml.other.{number} for training job usage", "Value": 0.0} for number in range(150)]
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append(self.headers["X-Amz-Target"].partition(".")[2])
            start = int(request.get("NextToken", 0))
            page = [*others, *rows][start : start + 100]
            more = {"NextToken": str(start + 100)} if start + 100 < len(others) + len(rows) else {}
            body = json.dumps({"Quotas": page, **more}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", f"http://127.0.0.1:{server.server_port}")
    try:
        yield calls
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quota_server(account, monkeypatch):
    found = {"ml__g5__xlarge_for_training_job_usage": 4.0, "ml__g5__xlarge_for_spot_training_job_usage": 0.0}
    with quotas(monkeypatch, **found) as calls:
        yield calls


@pytest.fixture
def image(account):
    ecr = account.client("ecr")
    if not ecr.describe_repositories()["repositories"]:
        ecr.create_repository(repositoryName="team/train")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
        layers = {"config": {"digest": "sha256:" + "0" * 64, "size": 1}, "layers": []}
        ecr.put_image(repositoryName="team/train", imageManifest=json.dumps(manifest | layers), imageTag="v1")
    return IMAGE


def findings(
    account, *, uris=(), store=f"s3://{BUCKET}/store/abc/", secrets=None, image=IMAGE, region=REGION, **members
):
    request = request_of("probe", hosts=2, **{"role": account.role, **members})
    request["AlgorithmSpecification"]["TrainingImage"] = image
    options = TrainingJobOptions(role=request["RoleArn"], region=region)
    bundle = Bundle(
        name="probe",
        backend="trainingjob",
        trainer="probe",
        files=(BundleFile(path="request.json", content=json.dumps(request).encode()),),
        actions=(*((Expect(uris=tuple(uris)),) if uris else ()), Upload(uri=store, files=())),
    )
    made = job(secrets=secrets)
    return list(diagnose(made, bundle, options))


def found(subject, account, **fields):
    (finding,) = [each for each in findings(account, **fields) if each.subject == subject]
    return finding


def test_an_account_that_has_all_is_in_order(account, image):
    account.client("s3").put_object(Bucket=BUCKET, Key="models/one/config.json", Body=b"{}")
    seen = findings(account, uris=[f"s3://{BUCKET}/models/one"])
    assert [(each.subject, each.good) for each in seen] == [
        ("credentials", True),
        ("role", True),
        ("quota", True),
        ("output bucket", True),
        ("input", True),
        ("image", True),
    ]
    assert "123456789012" in seen[0].what


def test_nothing_is_changed_and_no_secret_is_read(account, image, quota_server):
    account.client("secretsmanager").create_secret(Name="looked-at", SecretString="hush")
    calls = len(account.calls)
    before = account.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"]
    seen = findings(account, secrets={"TOKEN": "secretsmanager:looked-at"})
    assert "hush" not in str(seen)
    assert account.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == before
    assert len(account.calls) == calls  # nothing was asked of SageMaker
    assert set(quota_server) == {"ListServiceQuotas"}


def test_without_credentials_the_command_lacks_something_here(account, monkeypatch):
    from smtrain.aws import client as aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    aws._session.cache_clear()
    with pytest.raises(SmtrainError) as raised:
        findings(account)
    assert raised.value.exit_code is ExitCode.MISSING_HERE
    assert "aws configure" in str(raised.value)


class TestRole:
    def test_one_that_is_not_there(self, account):
        finding = found("role", account, role="arn:aws:iam::123456789012:role/absent")
        assert finding.good is False
        assert "There is no role" in finding.what
        assert "sagemaker.amazonaws.com" in finding.fix

    def test_one_of_another_account(self, account):
        finding = found("role", account, role="arn:aws:iam::999999999999:role/smtrain")
        assert (finding.good, "another account" in finding.what) == (False, True)

    def test_one_whose_path_is_forgotten(self, account):
        trust = json.dumps({**POLICY, "Statement": [allowed()]})
        account.client("iam").create_role(RoleName="deep", Path="/team/", AssumeRolePolicyDocument=trust)
        finding = found("role", account, role="arn:aws:iam::123456789012:role/deep")
        assert finding.good is False
        assert finding.fix == "Set backend.role=arn:aws:iam::123456789012:role/team/deep"

    @pytest.mark.parametrize(
        ("statement", "good"),
        [
            ({}, True),
            ({"Principal": {"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}}, True),
            ({"Action": ["sts:TagSession", "sts:AssumeRole"]}, True),
            ({"Principal": {"Service": "ec2.amazonaws.com"}}, False),
            ({"Effect": "Deny"}, False),
            ({"Action": "sts:TagSession"}, False),
            ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, False),
        ],
    )
    def test_who_may_take_it_is_read_off_its_trust_policy(self, statement, good, account):
        iam = account.client("iam")
        trust = json.dumps({**POLICY, "Statement": [{**allowed(), **statement}]})
        role = iam.create_role(RoleName="trusting", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        try:
            finding = found("role", account, role=role)
        finally:
            iam.delete_role(RoleName="trusting")
        assert finding.good is good


def allowed():
    return {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


class TestQuota:
    def hosts(self, count, **more):
        resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": count, "VolumeSizeInGB": 30, **more}
        return {"ResourceConfig": resources}

    def test_as_many_as_the_account_may_have(self, account):
        finding = found("quota", account, **self.hosts(4))
        assert finding.good is True
        assert "ml.g5.xlarge for training job usage: 4, of which this run takes 4" in finding.what

    def test_one_more_says_how_to_ask_for_it(self, account):
        finding = found("quota", account, **self.hosts(5))
        assert (finding.good, "4, and this run needs 5" in finding.what) == (False, True)
        assert finding.fix.endswith("--quota-code L-0 --desired-value 5 --region us-east-1")

    def test_spot_has_its_own(self, account):
        finding = found("quota", account, EnableManagedSpotTraining=True)
        assert finding.good is False
        assert "spot training job usage" in finding.what

    def test_a_warm_pool_has_its_own_beside(self, account):
        seen = findings(account, **self.hosts(1, KeepAlivePeriodInSeconds=600))
        assert [each.good for each in seen if each.subject == "quota"] == [True, None]

    def test_groups_of_one_type_add_up(self, account):
        groups = [{"InstanceGroupName": name, "InstanceType": "ml.g5.xlarge", "InstanceCount": 3} for name in "ab"]
        finding = found("quota", account, ResourceConfig={"InstanceGroups": groups})
        assert (finding.good, "needs 6" in finding.what) == (False, True)

    def test_a_type_that_is_not_listed_could_not_be_seen(self, account):
        resources = {"InstanceType": "ml.new.xlarge", "InstanceCount": 1}
        assert found("quota", account, ResourceConfig=resources).good is None


class TestBucket:
    def test_one_that_is_not_there(self, account):
        finding = found("output bucket", account, OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/x"})
        assert finding.good is False
        assert finding.fix == "Make it: aws s3 mb s3://no-such-bucket --region us-east-1"

    def test_one_in_another_region(self, account):
        where = {"LocationConstraint": "eu-west-1"}
        account.client("s3").create_bucket(Bucket="far-away", CreateBucketConfiguration=where)
        finding = found("store bucket", account, store="s3://far-away/store/abc/")
        assert finding.good is False
        assert "far-away is in eu-west-1, and the job in us-east-1" in finding.what


class TestInput:
    @pytest.mark.parametrize(
        ("uri", "good"),
        [
            ("seen/model", True),
            ("seen/model/", True),
            ("seen/model/config.json", True),
            ("seen/mod", False),  # a part of a name is no folder
            ("seen/other", False),
            ("", True),
        ],
    )
    def test_there_must_be_something(self, uri, good, account):
        account.client("s3").put_object(Bucket=BUCKET, Key="seen/model/config.json", Body=b"{}")
        finding = found("input", account, uris=[f"s3://{BUCKET}/{uri}"])
        assert finding.good is good

    def test_an_absent_bucket_has_nothing(self, account):
        assert found("input", account, uris=["s3://no-such-bucket/model"]).good is False


class TestImage:
    def test_a_tag_that_is_not_there(self, account, image):
        finding = found("image", account, image=image.replace(":v1", ":v2"))
        assert (finding.good, ":v2" in finding.what) == (False, True)

    def test_a_repository_that_is_not_there(self, account, image):
        finding = found("image", account, image=image.replace("train", "trian"))
        assert (finding.good, "team/trian" in finding.what) == (False, True)

    def test_another_registry_is_not_looked_at(self, account):
        assert found("image", account, image="docker.io/library/python:3.12").good is None


class TestNetwork:
    @pytest.fixture
    def vpcs(self, account):
        ec2 = account.client("ec2")
        made = []
        for number in (1, 2):
            vpc = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
            subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{number}.0.0/24")["Subnet"]["SubnetId"]
            group = ec2.create_security_group(GroupName=f"g{vpc}", Description="g", VpcId=vpc)["GroupId"]
            made.append((subnet, group))
        return made

    def test_one_vpc_is_as_it_must_be(self, account, vpcs):
        (subnet, group), _ = vpcs
        assert found("vpc", account, VpcConfig={"Subnets": [subnet], "SecurityGroupIds": [group]}).good is True

    def test_two_are_not(self, account, vpcs):
        (subnet, _), (_, group) = vpcs
        finding = found("vpc", account, VpcConfig={"Subnets": [subnet], "SecurityGroupIds": [group]})
        assert (finding.good, "several VPCs" in finding.what) == (False, True)

    def test_what_is_not_there_is_named(self, account, vpcs):
        finding = found("vpc", account, VpcConfig={"Subnets": ["subnet-0123456789abcdef0"]})
        assert (finding.good, "subnet-0123456789abcdef0" in finding.what) == (False, True)


class TestSecret:
    def test_what_is_there_is_good(self, account):
        account.client("secretsmanager").create_secret(Name="team/hf", SecretString='{"token": "x"}')
        account.client("ssm").put_parameter(Name="/team/wandb", Value="x", Type="SecureString")
        secrets = {"HF_TOKEN": "secretsmanager:team/hf#token", "WANDB_API_KEY": "ssm:/team/wandb"}
        seen = [each.good for each in findings(account, secrets=secrets) if each.subject == "secret"]
        assert seen == [True, True]

    @pytest.mark.parametrize("reference", ["secretsmanager:nowhere", "ssm:/nowhere"])
    def test_what_is_not_there_is_told(self, reference, account):
        finding = found("secret", account, secrets={"TOKEN": reference})
        assert (finding.good, reference in finding.what) == (False, True)
        assert "secrets.TOKEN" in finding.fix

    def test_one_of_the_image_cannot_be_seen(self, account):
        assert found("secret", account, secrets={"TOKEN": "env:TOKEN"}).good is None


@pytest.mark.parametrize(
    ("operation", "subject"),
    [("BatchGetImage", "image"), ("DescribeSecret", "secret"), ("DescribeParameters", "secret")],
)
def test_a_missing_permission_only_means_that_nothing_was_seen(operation, subject, account, image):
    reference = "ssm:/x" if operation == "DescribeParameters" else "secretsmanager:x"
    account.refuse(operation, "AccessDeniedException", "You may not.")
    try:
        finding = found(subject, account, secrets={"TOKEN": reference} if subject == "secret" else None)
    finally:
        account.refuse(operation, None)
    assert finding.good is None
    assert operation in finding.fix


def test_a_refused_list_of_quotas_hides_nothing_else(account, image, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS")
    account.refuse("ListServiceQuotas", "AccessDeniedException", "You may not.")
    try:
        seen = findings(account)
    finally:
        account.refuse("ListServiceQuotas", None)
    assert [each.good for each in seen] == [True, True, None, True, True]


def test_hostile_names_are_told_and_nothing_more(account):
    seen = findings(account, uris=["s3://bucket/$(touch pwned)/é 漢字"], secrets={"TOKEN": "ssm:/a'b"})
    assert [each.good for each in seen if each.subject in ("input", "secret")] == [False, False]
    assert replace(seen[0]).good is True
