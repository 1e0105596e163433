"""The actions of a bundle as JSON and as text, one line each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import cast

import msgspec

from smtrain.spec import Action, ApiCall, Exec, Expect, HandOver, Json, Upload

_KINDS: Mapping[str, type[Action]] = {
    "exec": Exec,
    "expect": Expect,
    "upload": Upload,
    "call": ApiCall,
    "hand-over": HandOver,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def as_json(action: Action) -> dict[str, Json]:
    """Returns an action as plain data; `do` tells its kind."""
    fields = cast("dict[str, Json]", msgspec.json.decode(msgspec.json.encode(action)))
    return {"do": _NAMES[type(action)], **fields}


def from_json(document: Mapping[str, Json]) -> Action:
    """Returns the action of `as_json`.

    Raises:
      ValueError: it is none.
    """
    fields = dict(document)
    kind = _KINDS.get(str(fields.pop("do", "")))
    if kind is None:
        message = f"no action is called {document.get('do')!r}"
        raise ValueError(message)
    return msgspec.convert(fields, kind)


def as_text(action: Action) -> str:
    """Returns what an action does, in one line."""
    match action:
        case Exec(argv=argv):
            return shlex.join(argv)
        case Expect(uris=uris):
            return f"look whether there is something at {', '.join(uris)}"
        case Upload(uri=uri, files=files):
            return f"upload {len(files)} file{'s' if len(files) > 1 else ''} to {uri}"
        case ApiCall(service=service, operation=operation, request=request, region=region):
            return f"{service}:{operation} in {region} with {request}"
        case HandOver(summary=summary):
            return summary
