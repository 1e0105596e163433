"""Making something by an API of AWS once, however often it is asked for, and anew once it has failed."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from smtrain.aws import Client, RefusedError
from smtrain.errors import fail
from smtrain.progress import Observer
from smtrain.spec import ApiCall, Json, Receipt, State

_LONGEST_NAME = 63  # of what SageMaker makes: the API reference of CreateTrainingJob, and its like
_OVER = (State.FAILED, State.STOPPED, State.LOST)


def make(bundle: Path, action: ApiCall, receipt: Receipt, *, observer: Observer) -> Receipt:
    """Makes what a request asks for, unless it is there, and going or done.

    It is looked for before it is made. A name that was free then and is taken a moment later was taken by this very
    submission, whose answer got lost, or by another of the same bundle: either way there is one, and it counts.

    Args:
      bundle: the bundle's folder.
      action: the call.
      receipt: the receipt so far; its `tries` says with which name to begin.
      observer: is told in a line what became of each name.

    Returns:
      The receipt, with the name, the number of the try, and the state of what is there now.

    Raises:
      SmtrainError: AWS refused, or cannot be reached; submitting again is safe.
    """
    request = cast("dict[str, Json]", json.loads((bundle / action.request).read_text(encoding="utf-8")))
    client = Client(action.service, action.region)
    for tries in itertools.count(receipt.tries):
        name = _name(str(request[action.name]), tries)
        state = _state(client, action, name)
        if state is None:
            state = _create(client, action, {**request, action.name: name})
            observer.line(f"{name}: submitted")
            return _begun(receipt, name, tries, state)
        observer.line(f"{name}: {state.value} already, from an earlier submission")
        if state not in _OVER:
            return replace(receipt if receipt.job == name else _begun(receipt, name, tries, state), state=state)
    raise AssertionError


def _name(run_id: str, tries: int) -> str:
    name = run_id if tries == 1 else f"{run_id}-t{tries}"
    if len(name) > _LONGEST_NAME:
        what = f"`{name}` has {len(name)} characters, of which the target takes {_LONGEST_NAME}."
        raise fail(what, "Shorten the run's name.", key="name")
    return name


def _state(client: Client, action: ApiCall, name: str) -> State | None:
    """Returns the state of what has this name; None when nothing has."""
    try:
        answer = client.call(action.probe.operation, **{action.name: name})
    except RefusedError as error:
        if _is_absent(error):
            return None
        raise
    # A word that is new to us is no end: taking it for one would make a second job.
    return action.probe.states.get(str(answer[action.probe.status]), State.RUNNING)


def _create(client: Client, action: ApiCall, request: dict[str, Json]) -> State:
    try:
        client.call(action.operation, **request)
    except RefusedError as error:
        if not _is_taken(error, action):
            raise
        return _state(client, action, str(request[action.name])) or State.RUNNING
    return State.RUNNING


def _is_absent(error: RefusedError) -> bool:
    # SageMaker: "ValidationException: Requested resource not found.", github.com/aws/aws-sdk/issues/165; its models and
    # endpoints: "Could not find …".
    if error.error_code == "ValidationException":
        return any(words in error.message.lower() for words in ("not found", "could not find", "does not exist"))
    return error.error_code in ("ResourceNotFound", "ResourceNotFoundException")


def _is_taken(error: RefusedError, action: ApiCall) -> bool:
    # CreateTrainingJob: "ResourceInUse: Training job names must be unique …, and a training job with this name already
    # exists". Endpoints: "ValidationException: Cannot create already existing endpoint".
    in_words = error.error_code == "ValidationException" and "already exist" in error.message
    return in_words or error.error_code == action.taken


def _begun(receipt: Receipt, name: str, tries: int, state: State) -> Receipt:
    now = time.time()
    return Receipt(run_id=receipt.run_id, backend=receipt.backend, state=state, started=now, job=name, tries=tries)
