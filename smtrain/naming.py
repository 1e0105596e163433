"""Telling a bundle the id of its run, which follows from the bundle's own content."""

from __future__ import annotations

from dataclasses import replace

from smtrain import actions
from smtrain.spec import RUN_ID, Action, Bundle, BundleFile, Json, Upload


def named(bundle: Bundle, run_id: str) -> Bundle:
    """Returns the bundle with the run's id in the place of `RUN_ID`, in its files, its actions and its facts.

    A file that is uploaded stays as it is: it lies in S3 under a digest of its content, for other runs as well.
    """
    sent = {path for action in bundle.actions if isinstance(action, Upload) for path, _ in action.files}
    return replace(
        bundle,
        files=tuple(file if file.path in sent else _file(file, run_id) for file in bundle.files),
        actions=tuple(_action(action, run_id) for action in bundle.actions),
        facts=tuple((title, text.replace(RUN_ID, run_id)) for title, text in bundle.facts),
    )


def _file(file: BundleFile, run_id: str) -> BundleFile:
    if not isinstance(file.content, bytes):
        return file
    return replace(file, content=file.content.replace(RUN_ID.encode(), run_id.encode()))


def _action(action: Action, run_id: str) -> Action:
    document = actions.as_json(action)
    return actions.from_json({key: _text(value, run_id) for key, value in document.items()})


def _text(value: Json, run_id: str) -> Json:
    match value:
        case str():
            return value.replace(RUN_ID, run_id)
        case list():
            return [_text(item, run_id) for item in value]
        case dict():
            return {key: _text(item, run_id) for key, item in value.items()}
        case _:
            return value
