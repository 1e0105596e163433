"""Where a data set's settings are said: in the configuration, or in an entry of the user's own dataset_info.json."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.spec import Dataset

_CHOICES = ("data.names", "data.eval_names")


def is_own_entry(dataset: Dataset) -> bool:
    """Whether the data set is described by the user's own dataset_info.json, which the trainer is given as it is."""
    return dataset.key in _CHOICES


def key_of(dataset: Dataset, setting: str) -> str:
    """Returns the configuration key of a setting such as "columns.prompt"; for an entry, the key that chose it."""
    return dataset.key if is_own_entry(dataset) else f"{dataset.key}.{setting}"


def spoken(dataset: Dataset, setting: str) -> str:
    """Returns a setting in words: "data.columns", or "columns in the entry `x` of the dataset_info.json"."""
    if is_own_entry(dataset):
        return f"{setting} in the entry `{dataset.name}` of the dataset_info.json"
    return f"{dataset.key}.{setting}"


def set_to(dataset: Dataset, values: Mapping[str, str]) -> str:
    """Returns what to do for settings to have these values, as overrides where they can be; without a full stop."""
    if not is_own_entry(dataset):
        return "Set " + " ".join(f"{dataset.key}.{setting}={value}" for setting, value in values.items())
    *most, last = (f"{setting} to `{value}`" for setting, value in values.items())
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"In the entry `{dataset.name}` of the dataset_info.json, set {listed}"
