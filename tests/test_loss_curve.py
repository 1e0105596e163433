from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from smtrain import loss_curve


def metrics(folder: Path, *rows: Mapping[str, float | None]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_picture_is_a_png_of_every_loss(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = metrics(
        tmp_path, {"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 1, "eval_loss": 3}
    )
    assert loss_curve.draw(path, tmp_path / "loss.png", title="it's $(x) $a_b$") is None
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_same_losses_give_the_same_picture_and_others_another(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = []
    for values in ((2.0, 1.0), (2.0, 1.0), (2.0, 1.5)):
        path = metrics(tmp_path, *({"step": step, "loss": value} for step, value in enumerate(values)))
        assert loss_curve.draw(path, tmp_path / "loss.png", title="run") is None
        pictures.append((tmp_path / "loss.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("rows", [[], [{"step": 1, "lr": 0.1}], [{"step": 1, "loss": None}]])
def test_there_is_no_picture_without_a_loss(tmp_path: Path, rows: list[dict[str, float | None]]) -> None:
    path = metrics(tmp_path, *rows)
    assert loss_curve.draw(path, tmp_path / "loss.png", title="run") == "the run recorded no loss"
    assert not (tmp_path / "loss.png").exists()


def test_without_matplotlib_it_says_so(tmp_path: Path) -> None:
    metrics(tmp_path, {"step": 1, "loss": 2.0})
    source = """\
import pathlib, sys
sys.modules["matplotlib"] = None
from smtrain import loss_curve
print(loss_curve.draw(pathlib.Path("metrics.jsonl"), pathlib.Path("loss.png"), title="run"))
"""
    path = str(Path(loss_curve.__file__).parents[1])
    done = subprocess.run(
        (sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{source}"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "matplotlib is not installed (pip install matplotlib)\n"


def test_smoothing_starts_at_the_first_value() -> None:
    # By hand, with 0.9: 1; (0.9·0.1·1 + 0.1·2) / (1 − 0.81) = 0.29 / 0.19.
    assert loss_curve.smoothed([1.0, 2.0]) == pytest.approx([1.0, 0.29 / 0.19])
    assert loss_curve.smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
