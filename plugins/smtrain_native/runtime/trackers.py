"""Services that keep metrics: TensorBoard, Weights & Biases, MLflow. Each is imported when it is wanted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtrain_native.runtime.settings import Reporter as TrackerName

_LONGEST_PARAMETER = 500  # MLflow before 2.8 takes no more; later versions 6000
_PARAMETERS_A_CALL = 100  # MLflow's MAX_PARAMS_TAGS_PER_BATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a tracker is opened with.

    Attributes:
      folder: the run's output folder.
      project: of W&B, and MLflow's experiment.
      name: of the run there.
      start_step: optimizer steps done before; above 0 the run of `run_id` goes on.
      config: the settings, plain data.
      run_id: that the tracker gave the interrupted run; None begins another.
    """

    folder: Path
    project: str
    name: str
    start_step: int
    config: Mapping[str, object]
    run_id: str | None = None


class Tracker(Protocol):
    """A service that keeps metrics. Whatever it raises is told and survived."""

    @property
    def run_id(self) -> str | None:
        """By what the run goes on after an interruption; None where nothing is needed."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        ...

    def close(self, *, failed: bool) -> None:
        """Ends the run."""
        ...


class TensorBoard:
    """Event files in `tensorboard/` of the output folder."""

    run_id = None

    def __init__(self, start: Start) -> None:
        """Opens the files; what an interrupted run wrote beyond the start is hidden by `purge_step`."""
        from torch.utils.tensorboard import SummaryWriter

        purge = start.start_step + 1 if start.start_step else 0
        self._writer = SummaryWriter(log_dir=str(start.folder / "tensorboard"), purge_step=purge)
        if not start.start_step:
            text = json.dumps(start.config, indent=2, default=str, ensure_ascii=False)
            self._writer.add_text("settings", f"```json\n{text}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Closes the files."""
        del failed
        self._writer.close()


class WandB:
    """A run of Weights & Biases; WANDB_MODE, WANDB_API_KEY and its other variables count."""

    def __init__(self, start: Start) -> None:
        """Opens the run. Its axis is our step: W&B's own takes no step twice, which a resumed run may have to tell."""
        import wandb

        self._run = wandb.init(
            project=start.project,
            name=start.name,
            dir=str(start.folder),
            config=dict(start.config),
            id=start.run_id,
            resume="allow" if start.run_id else None,
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    @property
    def run_id(self) -> str:
        """W&B's identifier of the run."""
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of a step."""
        self._run.log({"step": step, **values})

    def close(self, *, failed: bool) -> None:
        """Sends what is left."""
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of MLflow; MLFLOW_TRACKING_URI says where, else a database in `mlflow/` of the output folder."""

    def __init__(self, start: Start) -> None:
        """Opens the run."""
        import mlflow
        from mlflow.entities import Metric, Param

        self._metric = Metric
        uri = None if mlflow.is_tracking_uri_set() else _database(start.folder)
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        if start.run_id:
            self.run_id = start.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            return
        run = self._client.create_run(self._experiment(start.project), run_name=start.name)
        self.run_id = str(run.info.run_id)
        params = [Param(name, value[:_LONGEST_PARAMETER]) for name, value in _flat(start.config)]
        for first in range(0, len(params), _PARAMETERS_A_CALL):
            self._client.log_batch(self.run_id, params=params[first : first + _PARAMETERS_A_CALL])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of a step in one call."""
        now_ms = int(time.time() * 1000)
        metrics = [self._metric(_mlflow_name(name), value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        """Ends the run."""
        self._client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                # Runs of a sweep begin together: another may have made it meanwhile.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


OPENERS: Mapping[TrackerName, Callable[[Start], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def _database(folder: Path) -> str:
    place = folder.resolve() / "mlflow"
    place.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{place / 'mlflow.db'}"


def _mlflow_name(name: str) -> str:
    """Returns a name that MLflow takes: word characters, `-`, `.`, space, `:` and `/`, and no folder of dots."""
    plain = re.sub(r"[^\w\-. :/]", "_", name)
    return "/".join(part if part.strip(".") else "_" for part in plain.split("/"))


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            yield _mlflow_name(f"{prefix}{name}"), text
