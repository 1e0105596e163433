"""Making something by an API of AWS once, however often it is asked for, and anew once it has failed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

from smtrain import submissions
from smtrain.aws import Client, RefusedError
from smtrain.progress import Observer
from smtrain.spec import ApiCall, Json, Receipt, State
from smtrain.submissions import Known

_LONGEST_NAME = 63  # of what SageMaker makes: the API reference of CreateTrainingJob, and its like


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
    calls = _Calls(Client(action.service, action.region), action, request)
    # The request carries the run's own name, which is its id.
    named = replace(receipt, run_id=str(request[action.name]))
    made = submissions.submit_once(named, calls, observer=observer, longest_name=_LONGEST_NAME)
    return replace(made, run_id=receipt.run_id)


class _Calls:
    """The target of an API call."""

    def __init__(self, client: Client, action: ApiCall, request: dict[str, Json]) -> None:
        self._client = client
        self._action = action
        self._request = request

    def find(self, name: str) -> Known | None:
        action = self._action
        try:
            answer = self._client.call(action.probe.operation, **{action.name: name})
        except RefusedError as error:
            if _is_absent(error):
                return None
            raise
        # A word that is new to us is no end: taking it for one would make a second job.
        state = action.probe.states.get(str(answer[action.probe.status]), State.RUNNING)
        return Known(job=name, state=state)

    def create(self, name: str) -> Known:
        made = Known(job=name, state=State.RUNNING)
        try:
            self._client.call(self._action.operation, **{**self._request, self._action.name: name})
        except RefusedError as error:
            if not _is_taken(error, self._action):
                raise
            return self.find(name) or made
        return made


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
