"""Looks at the buckets that a job writes to, and at what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.plugin import Bundle, Expect, Finding, Json, Upload, aws, s3_objects

_ABSENT = ("404", "NoSuchBucket", "NotFound")
_ELSEWHERE = ("301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")


def buckets(request: Mapping[str, Json], bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yields (what it is for, bucket), each bucket once."""
    uses = [("output", _uri(request, "OutputDataConfig", "S3OutputPath"))]
    uses += [("checkpoints", _uri(request, "CheckpointConfig", "S3Uri"))]
    uses += [("store", action.uri) for action in bundle.actions if isinstance(action, Upload)]
    seen: set[str] = set()
    for use, uri in uses:
        bucket = s3_objects.split(uri)[0]
        if uri.startswith("s3://") and bucket not in seen:
            seen.add(bucket)
            yield f"{use} bucket", bucket


def bucket(subject: str, name: str, region: str) -> Iterator[Finding]:
    """Looks whether a bucket is there, and in the job's region; whether it takes objects, only writing would tell."""
    client = aws.Client("s3", region)
    try:
        client.call("HeadBucket", Bucket=name)
    except aws.RefusedError as error:
        if error.error_code in _ABSENT:
            fix = f"Make it: aws s3 mb s3://{name} --region {region}"
            yield Finding(subject=subject, good=False, what=f"There is no bucket {name}.", fix=fix)
            return
        if error.error_code not in _ELSEWHERE:
            raise
    where = client.call("GetBucketLocation", Bucket=name).get("LocationConstraint")
    # The two oldest regions have names of their own here (API_GetBucketLocation).
    found = {"None": "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(str(where or ""), str(where))
    if found != region:
        what = f"{name} is in {found}, and the job in {region}, which SageMaker refuses."
        yield Finding(subject=subject, good=False, what=what, fix=f"Set backend.region={found}, or use another bucket.")
    else:
        yield Finding(subject=subject, good=True, what=f"{name} is in {region}.")


def uris(bundle: Bundle) -> tuple[str, ...]:
    """Returns what the job expects in S3."""
    found = [uri for action in bundle.actions if isinstance(action, Expect) for uri in action.uris]
    return tuple(dict.fromkeys(found))


def data(uri: str, region: str) -> Iterator[Finding]:
    """Looks whether there is an object of a URI, or one below it."""
    client = aws.Client("s3", region)
    bucket_name, key = s3_objects.split(uri)
    below = f"{key.rstrip('/')}/" if key else ""
    try:
        page = client.call("ListObjectsV2", Bucket=bucket_name, Prefix=below, MaxKeys=1)
        there = bool(page.get("Contents")) or (bool(key) and s3_objects.at(client, uri) is not None)
    except aws.RefusedError as error:
        if error.error_code not in _ABSENT:
            raise
        there = False
    if there:
        yield Finding(subject="input", good=True, what=f"{uri} has objects.")
    else:
        fix = "Upload it there, or correct the URI."
        yield Finding(subject="input", good=False, what=f"There is nothing at {uri}.", fix=fix)


def _uri(request: Mapping[str, Json], section: str, member: str) -> str:
    value = request.get(section)
    return str(value.get(member, "")) if isinstance(value, dict) else ""
