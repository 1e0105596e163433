"""What Kubernetes takes for a name, a label, and their like: its concepts, "Object Names and IDs" and "Labels"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from smtrain.plugin import Problem

LONGEST_LABEL = 63

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_LONGEST_SUBDOMAIN = 253

LABEL_RULE = "A DNS label: lower-case letters, digits and `-`, a letter or digit at both ends, at most 63."
SUBDOMAIN_RULE = "Lower-case letters, digits, `-` and `.`, a letter or digit at both ends."
VALUE_RULE = "Letters, digits, `-`, `_` and `.`, a letter or digit at both ends, at most 63."


def is_label(text: str) -> bool:
    """Whether a text is a DNS label (RFC 1123)."""
    return bool(_LABEL.fullmatch(text)) and len(text) <= LONGEST_LABEL


def is_job_name(text: str) -> bool:
    """Whether a text is a DNS label that begins with a letter (RFC 1035), as the name of a Service must be."""
    return bool(_LABEL_1035.fullmatch(text)) and len(text) <= LONGEST_LABEL


def is_subdomain(text: str) -> bool:
    """Whether a text is a DNS subdomain, as most objects' names must be."""
    return bool(_SUBDOMAIN.fullmatch(text)) and len(text) <= _LONGEST_SUBDOMAIN


def is_label_value(text: str) -> bool:
    """Whether a text can be a label's value."""
    return bool(_VALUE.fullmatch(text)) and len(text) <= LONGEST_LABEL


def is_label_key(text: str) -> bool:
    """Whether a text can be a label's or an annotation's key: a name, with a DNS subdomain and `/` in front or not."""
    prefix, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and len(name) <= LONGEST_LABEL and (not slash or is_subdomain(prefix))


def mapping_problems(key: str, given: Mapping[str, str], *, values: bool = True) -> Iterator[Problem]:
    """Yields which entries of a mapping are no labels; without `values`, no annotations."""
    for name, value in given.items():
        shown = f"{key}.{name}"
        if not is_label_key(name):
            yield Problem(key=shown, what=f"{name!r} is no key of a label.", fix="Write it like example.com/name.")
        elif values and not is_label_value(value):
            yield Problem(key=shown, what=f"{value!r} is no value of a label.", fix=VALUE_RULE)
