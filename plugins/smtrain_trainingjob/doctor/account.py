"""Looks at who submits, the role that the job is given, and how many machines the account may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smtrain.plugin import Finding, Json, aws

SERVICE = "sagemaker.amazonaws.com"
"""Who must be allowed to take the role (dg/sagemaker-roles)."""

_ACCOUNT_IN_ARN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose credentials these are."""

    account: str
    arn: str


def identity(region: str) -> Identity:
    """Returns who submits.

    Raises:
      SmtrainError: there are no credentials, or they are refused.
    """
    answer = aws.Client("sts", region).call("GetCallerIdentity")
    return Identity(account=str(answer["Account"]), arn=str(answer["Arn"]))


def role(arn: str, who: Identity, region: str) -> Iterator[Finding]:
    """Looks whether the role is there, in this account, and SageMaker may take it."""
    parts = arn.split(":")
    account = parts[_ACCOUNT_IN_ARN] if len(parts) > _ACCOUNT_IN_ARN else ""
    if account != who.account:
        what = f"{arn} is of another account than {who.account}, which cannot pass it to a job."
        yield Finding(subject="role", good=False, what=what, fix="Set backend.role, or choose another profile.")
        return
    try:
        answer = aws.Client("iam", region).call("GetRole", RoleName=arn.rpartition("/")[2])
    except aws.RefusedError as error:
        if error.error_code != "NoSuchEntity":
            raise
        fix = f"Create it, trusting {SERVICE}, or set backend.role."
        yield Finding(subject="role", good=False, what=f"There is no role {arn}.", fix=fix)
        return
    found = answer["Role"]
    if isinstance(found, dict) and found.get("Arn") != arn:
        what = f"The role of this name is {found.get('Arn')}, not {arn}."
        yield Finding(subject="role", good=False, what=what, fix=f"Set backend.role={found.get('Arn')}")
    elif isinstance(found, dict) and not _trusts(found.get("AssumeRolePolicyDocument")):
        what = f"SageMaker may not take {arn}."
        fix = f"Allow sts:AssumeRole to the service {SERVICE} in its trust policy."
        yield Finding(subject="role", good=False, what=what, fix=fix)
    else:
        yield Finding(subject="role", good=True, what=f"{arn} trusts {SERVICE}.")


def _trusts(policy: Json) -> bool:
    statements = _many(policy.get("Statement")) if isinstance(policy, dict) else []
    return any(_allows(statement) for statement in statements if isinstance(statement, dict))


def _allows(statement: Mapping[str, Json]) -> bool:
    principal = statement.get("Principal")
    services = _many(principal.get("Service")) if isinstance(principal, dict) else []
    actions = {str(action).lower() for action in _many(statement.get("Action"))}
    return (
        statement.get("Effect") == "Allow" and SERVICE in services and bool(actions & {"sts:assumerole", "sts:*", "*"})
    )


def _many(value: Json) -> list[Json]:
    """Returns the values of a member that a policy may give as one or as a list."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def quota(request: Mapping[str, Json], region: str) -> Iterator[Finding]:
    """Looks whether the account may have as many machines of each type at a time."""
    resources = request.get("ResourceConfig")
    wanted = _machines(resources) if isinstance(resources, dict) else Counter()
    spot = request.get("EnableManagedSpotTraining") is True
    warm = isinstance(resources, dict) and bool(resources.get("KeepAlivePeriodInSeconds"))
    names = {}
    for kind, count in wanted.items():
        names[f"{kind} for {'spot ' if spot else ''}training job usage"] = count
        if warm:
            names[f"{kind} for training warm pool usage"] = count
    found = _quotas(region, set(names))
    for name, count in names.items():
        yield _quota(name, count, found.get(name), region)


def _quota(name: str, count: int, found: tuple[float, str] | None, region: str) -> Finding:
    if found is None:
        fix = "Look for it in the console of Service Quotas, under Amazon SageMaker."
        return Finding(subject="quota", good=None, what=f"There is no quota called `{name}`.", fix=fix)
    value, code = found
    if value >= count:
        what = f"{name}: {value:g}, of which this run takes {count}; running jobs count as well."
        return Finding(subject="quota", good=True, what=what)
    what = f"{name}: {value:g}, and this run needs {count}."
    ask = "aws service-quotas request-service-quota-increase --service-code sagemaker"
    fix = f"Ask for more: {ask} --quota-code {code} --desired-value {count} --region {region}"
    return Finding(subject="quota", good=False, what=what, fix=fix)


def _quotas(region: str, names: set[str]) -> dict[str, tuple[float, str]]:
    """Returns name → (value, code) of the quotas of these names."""
    found: dict[str, tuple[float, str]] = {}
    for page in aws.Client("service-quotas", region).pages("ListServiceQuotas", ServiceCode="sagemaker"):
        rows = page.get("Quotas")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and row.get("QuotaName") in names:
                found[str(row["QuotaName"])] = (float(str(row["Value"])), str(row.get("QuotaCode", "")))
        if found.keys() == names:  # there are more than a thousand
            break
    return found


def _machines(resources: Mapping[str, Json]) -> Counter[str]:
    groups = resources.get("InstanceGroups")
    rows: list[Mapping[str, Json]] = (
        [row for row in groups if isinstance(row, dict)] if isinstance(groups, list) else []
    )
    counted: Counter[str] = Counter()
    for row in rows or [resources]:
        counted[str(row.get("InstanceType"))] += int(str(row.get("InstanceCount", 1)))
    return counted
