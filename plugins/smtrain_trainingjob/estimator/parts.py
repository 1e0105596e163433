"""What the scripts for both generations of the SageMaker Python SDK have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from smtrain.plugin import Json
from smtrain_trainingjob.estimator.python_source import WIDTH, statement

_HEAD = '''\
#!/usr/bin/env python3
"""{title}

This makes the very job that `smtrain submit` makes of request.json, so use one of the
two. Files of the bundle that S3 lacks are uploaded first, as `smtrain submit` does.
Defaults of your own SDK configuration file apply, if you have one.

    pip install "{requirement}"
    python estimator.py            # starts the job, and shows its log until it ends
    python estimator.py --no-wait  # starts the job
"""'''

_COMPLETE = '''\
def complete(params, **_):
    """Completes the request; boto3 calls this before it checks and sends one."""
    for name, value in MORE.items():
        inside = isinstance(value, dict)
        params[name] = {**params.get(name, {}), **value} if inside else value'''

_TAKE_OUT = """\
    for name in UNSAID:
        params.pop(name, None)
"""

_UPLOAD = '''\
def upload():
    """Sends to S3 what the job reads; a folder's name there is a digest of its content."""
    bundle = Path(__file__).resolve().parent
    if not (bundle / "manifest.json").exists():
        return
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for action in manifest["actions"]:
        if action["do"] != "upload":
            continue
        s3 = boto3.client("s3", region_name=action["region"] or None)
        bucket, _, folder = action["uri"].removeprefix("s3://").partition("/")
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": action["kms_key"]}
        extra = kms if action["kms_key"] else None
        for path, name in action["files"]:
            key = folder + name
            try:
                s3.head_object(Bucket=bucket, Key=key)
            except ClientError:
                s3.upload_file(str(bundle / path), bucket, key, ExtraArgs=extra)'''

_ARGUMENTS = """\
parser = argparse.ArgumentParser()
parser.add_argument("--no-wait", action="store_true", help="start it, and be done")
wait = not parser.parse_args().no_wait"""


def script(
    *,
    title: str,
    requirement: str,
    standard: Iterable[str] = (),
    modules: Iterable[str],
    region: str,
    values: Iterable[str],
    functions: Iterable[str],
    body: Iterable[str],
) -> str:
    """Returns the text of a script.

    Args:
      title: what it does, as a sentence.
      requirement: of the SDK, as pip takes it.
      standard: modules of Python's own, beside those that every script has.
      modules: import statements of the SDK, sorted.
      region: of the job; "" leaves it to the environment.
      values: assignments at the top.
      functions: definitions, beside `upload`, which every script has.
      body: what runs, in paragraphs; `wait` says whether to wait.
    """
    plain = sorted({"argparse", "json", *(("os",) if region else ()), *standard})
    own = (*(f"import {name}" for name in plain), "from pathlib import Path")
    imports = "\n".join((*own, "", "import boto3", "from botocore.exceptions import ClientError", *modules))
    head = _HEAD.format(title=title, requirement=requirement)
    top = "\n\n".join((head, imports, *((_region(region),) if region else ()), *values))
    return "\n\n\n".join((top, *functions, _UPLOAD, "\n\n".join((_ARGUMENTS, *body)))) + "\n"


def import_names(module: str, names: Iterable[str]) -> str:
    """Returns one import statement."""
    listed = sorted(set(names))
    flat = f"from {module} import {', '.join(listed)}"
    if len(flat) <= WIDTH:
        return flat
    return "\n".join((f"from {module} import (", *(f"    {name}," for name in listed), ")"))


def more(members: Mapping[str, Json], *, comment: str) -> str:
    """Returns the assignment of what the SDK cannot be told, for `complete` to put in.

    Args:
      members: mappings are merged with what the SDK says, everything else replaces it.
      comment: why.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    return "\n".join((*lines, statement("MORE = ", dict(members))))


def complete(*, unsaid: bool = False) -> str:
    """Returns the function that puts `MORE` into a request, and before that takes `UNSAID` out if there is such."""
    head, _, rest = _COMPLETE.partition("    for")
    return f"{head}{_TAKE_OUT if unsaid else ''}    for{rest}"


def snake_case(member: str) -> str:
    """Returns a member's name as the SDK spells it, e.g. VolumeSizeInGB → volume_size_in_gb."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", member)
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def _region(region: str) -> str:
    """Returns the statement that sets the region for every session, those included that the SDK opens by itself."""
    return "# Of the job, its files and its log.\n" + statement('os.environ["AWS_DEFAULT_REGION"] = ', region)
