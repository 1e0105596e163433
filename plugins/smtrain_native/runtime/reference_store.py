"""Reference log-probabilities on disk: a parquet file a set, which says what it was computed from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.fingerprint import fingerprint
from smtrain_native.runtime.samples import TokenSet, seed_of_samples
from smtrain_native.runtime.settings import Settings

_METADATA = b"smtrain_reference"
_FORMAT = 1
_MEANINGS: Mapping[str, str] = {
    "model": "the model's weights",
    "adapter": "the adapter to start from",
    "rows": "the rows, the tokenizer, or a setting that decides their tokens",
    "precision": "trainer.precision",
    "sampled": "the tokens that SamPO counts (its seed, or another loss)",
    "format": "the file's format",
}


class ReferenceStoreError(UserError):
    """Reference log-probabilities that are not there, or are of something else; the message is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the values of one set were computed from.

    Attributes:
      model: fingerprint.
      adapter: fingerprint; "" without one.
      rows: digest of the set's tokens.
      precision: of the computation.
      sampled: the seed with which tokens were drawn; None where all count.
      format: of the file.
    """

    model: str
    adapter: str
    rows: str
    precision: str
    sampled: int | None
    format: int = _FORMAT

    @property
    def digest(self) -> str:
        """Names the file."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def sources(settings: Settings, sets: Sequence[TokenSet]) -> list[Source]:
    """Returns what the values of each set follow from."""
    own = settings.model.adapter
    return [
        Source(
            model=fingerprint(settings.model.path, settings.model.revision),
            adapter="" if own is None else fingerprint(own, None),
            rows=each.digest,
            precision=settings.training.precision,
            sampled=seed_of_samples(settings),
        )
        for each in sets
    ]


def path_of(source: Source, cache: Path) -> Path:
    """Returns where the values lie in the cache."""
    return cache / "reference" / f"{source.digest}.parquet"


def write(path: Path, source: Source, rows: TokenSet, logps_N2: np.ndarray) -> None:
    """Writes the values of a set, at once or not at all.

    Args:
      path: of the file.
      source: what they were computed from.
      rows: the set.
      logps_N2: log πref of the chosen and of the rejected response.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "prompt_id": pa.array([rows.prompt_id(number) for number in range(len(rows))]),
        "chosen": pa.array(logps_N2[:, 0], pa.float64()),
        "rejected": pa.array(logps_N2[:, 1], pa.float64()),
    }
    table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(asdict(source))})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, source: Source, rows: TokenSet) -> np.ndarray:
    """Returns the values of a set, in its order; shape (N, 2), fp64.

    Raises:
      ReferenceStoreError: they are not there, or were computed from something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        found = json.loads((table.schema.metadata or {})[_METADATA])
    except FileNotFoundError as error:
        message = f"{path}: there are no reference log-probabilities for `{rows.name}`. Run the reference step first."
        raise ReferenceStoreError(message) from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        message = f"{path} is no file of reference log-probabilities: {error}. Delete it, and run the step again."
        raise ReferenceStoreError(message) from error
    wanted = asdict(source)
    other = [meaning for name, meaning in _MEANINGS.items() if found.get(name) != wanted[name]]
    if other or len(table) != len(rows):
        message = (
            f"{path} was computed from something else than this run has for `{rows.name}`: {'; '.join(other)}. "
            "Leave trainer.reference out, and it is computed anew."
        )
        raise ReferenceStoreError(message)
    values_N2: np.ndarray = np.stack([table.column(name).to_numpy() for name in ("chosen", "rejected")], axis=1)
    return values_N2
