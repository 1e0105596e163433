"""Rules about the data sets, and about settings that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Dataset, Job, Problem, columns, rows, suggest
from smtrain_native.options import NativeOptions

_MEDIA = ("images", "videos", "audios")
_OF_HUBS = ("subset", "split")
_REMOTE_INFO = ("REMOTE:", "ONLINE")
_READ = frozenset(rows.SUFFIXES) - {"txt"}
_NO_FOLDERS = frozenset({".bz2", ".gz", ".tar", ".tgz", ".txt", ".xz", ".zip", ".zst"})
"""Suffixes of what is elsewhere and can hardly be a folder."""


def sources_can_be_read(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """runtime/rows.py reads files, and data sets of the Hugging Face hub."""
    del options
    if (job.run.data.dataset_info or "").startswith(_REMOTE_INFO):
        what = f"`{job.run.data.dataset_info}` is looked up by LLaMA-Factory alone."
        yield Problem(key="data.dataset_info", what=what, fix="Name the data sets themselves: data.sets.NAME.path.")
        return
    for dataset in job.datasets:
        if dataset.source in ("script", "cloud_file") or (dataset.source == "hub" and _is_of_another_hub(job, dataset)):
            what = f"`{dataset.name}` comes from a {_SOURCES.get(dataset.source)}, which LLaMA-Factory alone reads."
            yield Problem(key=dataset.key, what=what, fix="Name a file, a folder, an s3:// URI or hub:ORG/NAME.")
        yield from _suffix(dataset)


_SOURCES = {"script": "script", "cloud_file": "file of a cloud", "hub": "hub other than Hugging Face's"}


def _is_of_another_hub(job: Job, dataset: Dataset) -> bool:
    if job.dataset_info is None:
        return False
    entry = json.loads(job.dataset_info).get(dataset.name)
    return isinstance(entry, dict) and "hf_hub_url" not in entry


def _suffix(dataset: Dataset) -> Iterator[Problem]:
    """Yields a file whose suffix the run time does not know."""
    names = [file.path.name for file in dataset.files]
    if dataset.source in ("s3", "target") and not dataset.location.endswith("/"):
        names = [name for name in (PurePosixPath(dataset.location).name,) if PurePosixPath(name).suffix in _NO_FOLDERS]
    unread = next((name for name in names if rows.suffix_of(name) not in _READ), None)
    if unread is not None:
        what = f"`{unread}` of `{dataset.name}` is no file of rows that this trainer reads."
        fix = "It reads .json, .jsonl, .csv, .parquet, .arrow and .pt, each with .gz or without."
        yield Problem(key=dataset.key, what=what, fix=fix)


def attributes_fit(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A subset and a split belong to data sets of a hub; a folder of one cannot be chosen."""
    del options
    for dataset in job.datasets:
        given = [name for name in _OF_HUBS if dataset.source != "hub" and dataset.attributes.get(name) is not None]
        for name in given:
            what = f"`{dataset.name}` has a {name}, which only data sets of a hub have."
            yield Problem(key=_key(dataset, name), what=what, fix="Leave it out.")
        if dataset.attributes.get("folder") is not None:
            what = f"`{dataset.name}` has a folder, which this trainer cannot choose."
            yield Problem(
                key=_key(dataset, "folder"), what=what, fix="Leave it out, or download the folder and name it."
            )


def rows_are_text(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Nothing but text is trained on."""
    del options
    for dataset in job.datasets:
        mapped = columns.effective_columns(dataset)
        for role in (role for role in _MEDIA if role in mapped):
            what = f"`{dataset.name}` has {role}, and this trainer reads text alone."
            yield Problem(key=_key(dataset, f"columns.{role}"), what=what, fix="Leave it out, or use lf_sft or lf_dpo.")


def weights_name_training_sets(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A weight is of a data set that is trained on."""
    known = [dataset.name for dataset in job.datasets if dataset.role == "train"]
    held_out = {dataset.name for dataset in job.datasets if dataset.role == "eval"}
    for name in options.weights:
        if name in held_out:
            what = f"`{name}` is evaluated on, whole; weights are of training sets."
            yield Problem(key=f"trainer.weights.{name}", what=what, fix="Leave it out.")
        elif name not in known and known:
            fix = suggest.did_you_mean(name, known)
            yield Problem(key=f"trainer.weights.{name}", what=f"There is no data set `{name}` to train on.", fix=fix)


def evaluation_has_data(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Sets to evaluate on are named by their bare names."""
    known = [dataset.name for dataset in job.datasets if dataset.role == "eval"]
    asked = options.evaluation
    if not known and job.datasets and (asked.sets or asked.every is not None):
        key = "trainer.evaluation.sets" if asked.sets else "trainer.evaluation.every"
        fix = "Set data.eval_path=FILE, or data.sets.NAME.role=eval; or leave it out."
        yield Problem(key=key, what="There are no rows to evaluate on.", fix=fix)
    for name in (name for name in asked.sets if known and name not in known):
        what = f"There is no evaluation set `{name}`."
        yield Problem(key="trainer.evaluation.sets", what=what, fix=suggest.did_you_mean(name, known))


def the_cache_is_a_place(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A relative folder would lie in the run's own working directory, where no other run finds it."""
    del job
    folder = options.cache_dir
    if folder is not None and not folder.startswith(("/", "~/")):
        what = f"`{folder}` is no absolute path; each run has a folder of its own, so nothing would be found again."
        fix = "Say /absolute/path or ~/path of the target, or leave it out."
        yield Problem(key="trainer.cache_dir", what=what, fix=fix)


def _key(dataset: Dataset, name: str) -> str:
    own = dataset.key in ("data.names", "data.eval_names")  # the keys of a dataset_info.json are none of ours
    return dataset.key if own else f"{dataset.key}.{name}"


RULES = (
    sources_can_be_read,
    attributes_fit,
    rows_are_text,
    weights_name_training_sets,
    evaluation_has_data,
    the_cache_is_a_place,
)
