"""The picture of a run's loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smtrain import progress

SMOOTHING = 0.9
"""Weight of the past in the smoothed line, as in TensorBoard's slider."""

Curve = tuple[list[int], list[float]]


def draw(metrics: Path, picture: Path, *, title: str) -> str | None:
    """Draws every metric named loss, or something ending in `_loss`, over the steps.

    Args:
      metrics: the run's metrics.jsonl.
      picture: the PNG file to write.
      title: what stands above it.

    Returns:
      Why there is no picture; None when there is one.
    """
    curves = _curves(metrics)
    if not curves:
        return "the run recorded no loss"
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is not installed (pip install matplotlib)"
    # No pyplot: it keeps figures in the process, and asks the environment for a display.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (steps, values) in curves.items():
        if name == "loss" and len(values) > 1:
            (line,) = axes.plot(steps, values, alpha=0.35, label=name)
            axes.plot(steps, smoothed(values), color=line.get_color(), label=f"{name}, smoothed")
        else:
            axes.plot(steps, values, marker="o", label=name)
    # A title is text: `$` and `_` of a run's name are not mathematics.
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    canvas.print_png(picture)
    return None


def smoothed(values: Sequence[float]) -> list[float]:
    """Returns the exponential moving average, corrected for its start at zero (Kingma and Ba 2015, section 3)."""
    average, line = 0.0, []
    for count, value in enumerate(values, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        line.append(average / (1 - SMOOTHING**count))
    return line


def _curves(metrics: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for row in progress.read(metrics):
        for name, value in row.items():
            if (name == "loss" or name.endswith("_loss")) and isinstance(value, int | float):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(int(str(row["step"])))
                values.append(float(value))
    return curves
