"""What a training tells: printed lines and the expressions that read them, metrics.jsonl, averages, rates, the bar."""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from smtrain_native.runtime import line_format, metrics
from smtrain_native.runtime.metrics import MetricsFile
from smtrain_native.runtime.peak_flops import peak_flops
from smtrain_native.runtime.reporter import Reporter
from smtrain_native.runtime.settings import Reports
from smtrain_native.runtime.throughput import ModelShape, Throughput, peak_memory_gib
from smtrain_native.runtime.window import Window, Work

PLUGINS = Path(__file__).parents[2] / "plugins"
NAN, INF = math.nan, math.inf


def read(line: str, patterns: Mapping[str, str]) -> dict[str, float]:
    return {name: float(found[1]) for name, regex in patterns.items() if (found := re.search(regex, line))}


# ----------------------------------------------------------------------------------------------------------- lines


def test_a_line_by_hand() -> None:
    values = {"loss": 0.69314718, "learning_rate": 1e-5, "epoch": 0.125, "tokens_per_s": 4698.4, "grad_norm": 12.0}
    expected = "step 12/100  epoch 0.1250  loss 0.6931  lr 1.0e-05  grad_norm 12.0  tokens/s 4698"
    assert line_format.line(12, 100, values) == expected


def test_numbers_of_every_size_are_read_back() -> None:
    for value in (0.0, 1.2e-05, -0.25, 123.0, 123456.0, 1e16, -1e-300, 5e-324, NAN, INF, -INF):
        line = line_format.line(1, 2, {"loss": value, "margin": value})
        found = read(line, line_format.PATTERNS)
        assert found.keys() == {"loss", "margin"}, line
        assert found["loss"] == pytest.approx(value, rel=1e-3, nan_ok=True), line


AROUND = ("{}", "[rank0]: {}", "algo-1  {} ", "\x1b[32m{}\x1b[0m", "  3%|▎  | 3/100 [00:05<02:00]\r{}\r")
ALL = {column.field: (number + 1) / 8 for number, column in enumerate(line_format.COLUMNS)}


@pytest.mark.parametrize("around", AROUND)
def test_each_metric_is_read_under_its_own_name_and_no_other(around: str) -> None:
    line = around.replace("{}", line_format.line(3, 100, ALL))
    found = read(line, line_format.PATTERNS)
    printed = {"tokens_per_s": round(ALL["tokens_per_s"]), "samples": round(ALL["samples"], 1)}
    assert found == pytest.approx({**ALL, **printed}, abs=0.006)
    for field, value in ALL.items():
        one = around.replace("{}", line_format.line(3, 100, {field: value}))
        assert read(one, line_format.PATTERNS).keys() == {field}


NOT_METRICS = (
    "loss 3.0",
    "step 3 loss 3.0",
    "step 1/2  eval/dev/loss 3.0  my_loss 3.0  lossy 3.0",
    "step 1/2  loss n/a  lr info  margin -",
    "step 1/2loss 3.0",
)


@pytest.mark.parametrize("line", NOT_METRICS)
def test_what_only_looks_like_a_metric_is_none(line: str) -> None:
    assert read(line, line_format.PATTERNS) == {}


SETS = ("dev", "test set", "Ünïcode (v1.0) [x]", "a-b", "a_b", "$(rm)\n'\"\\", "")


def test_evaluation_sets_of_any_name_are_told_apart() -> None:
    values = {
        line_format.evaluation_field(name, metric): number + share
        for number, name in enumerate(SETS)
        for metric, share in (("loss", 0.25), ("accuracy", 0.5))
    }
    line = line_format.line(5, 10, values)
    assert "\n" not in line
    assert read(line, line_format.PATTERNS) == {}, "an evaluation's loss is not the training's"
    patterns = line_format.evaluation_patterns(SETS, ("loss", "accuracy"))
    fields = line_format.evaluation_fields(SETS, ("loss", "accuracy"))
    assert read(line, patterns) == pytest.approx({name: values[field] for name, field in fields.items()})
    assert fields["eval_test_set_loss"] == "eval/test set/loss"
    assert len(fields) == len(values)
    assert {"eval_a_b_loss", "eval_a_b_2_loss"} < fields.keys()


def test_names_and_expressions_fit_into_sagemaker() -> None:
    """API_MetricDefinition: names of 1 to 255 characters, expressions of 1 to 500; 20 at most in a tuning job."""
    patterns = {**line_format.PATTERNS, **line_format.evaluation_patterns(["dev"], ("loss", "accuracy", "margin"))}
    assert len(patterns) <= 20
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,254}", name) for name in patterns)
    assert all(len(regex) <= 500 and re.compile(regex).groups == 1 for regex in patterns.values())
    assert not any("(?=" in regex or "(?<" in regex or "(?!" in regex for regex in patterns.values())


def test_the_line_format_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import smtrain_native.runtime.line_format\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*(new - sys.stdlib_module_names))"
    )
    env = {"PYTHONPATH": str(PLUGINS)}
    done = subprocess.run((sys.executable, "-c", code), env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["smtrain_native"]


# --------------------------------------------------------------------------------------------------- metrics.jsonl


def record(path: Path, *, start: int = 0) -> tuple[MetricsFile, list[str]]:
    warnings: list[str] = []
    return MetricsFile(path / "metrics.jsonl", start_step=start, warn=warnings.append), warnings


def rows(path: Path) -> list[dict[str, object]]:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (path / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_a_row_says_step_total_and_values_in_full(tmp_path: Path) -> None:
    file, _ = record(tmp_path / "new" / "folder")
    file.write(1, 9, {"loss": 0.1 + 0.2, "samples": 3, "eval/ü x/loss": 1.0})
    assert rows(tmp_path / "new" / "folder") == [
        {"step": 1, "total_steps": 9, "loss": 0.30000000000000004, "samples": 3, "eval/ü x/loss": 1.0}
    ]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    file, _ = record(tmp_path)
    file.write(1, 9, {"loss": NAN, "grad_norm": INF, "margin": -INF})
    assert rows(tmp_path) == [{"step": 1, "total_steps": 9, "loss": None, "grad_norm": None, "margin": None}]


def test_a_row_is_there_as_soon_as_it_is_told(tmp_path: Path) -> None:
    file, _ = record(tmp_path)
    file.write(1, 9, {"loss": 1.0})
    assert len(rows(tmp_path)) == 1


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    file, _ = record(tmp_path)
    for step in range(1, 6):
        file.write(step, 9, {"loss": float(step)})
    file.write(5, 9, {"eval/dev/loss": 5.0})
    with (tmp_path / "metrics.jsonl").open("a") as killed:
        killed.write('{"step": 3, "lo')
    resumed, _ = record(tmp_path, start=3)
    for step in range(4, 7):
        resumed.write(step, 9, {"loss": -float(step)})
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, -4), (5, -5), (6, -6)]


def test_an_evaluation_at_the_very_checkpoint_is_told_once(tmp_path: Path) -> None:
    file, _ = record(tmp_path)
    file.write(3, 9, {"loss": 3.0})
    file.write(3, 9, {"eval/dev/loss": 1.0})
    resumed, _ = record(tmp_path, start=3)
    resumed.write(3, 9, {"eval/dev/loss": 2.0})
    resumed.write(4, 9, {"loss": 4.0})
    assert [(row["step"], row.get("loss"), row.get("eval/dev/loss")) for row in rows(tmp_path)] == [
        (3, 3.0, None),
        (3, None, 2.0),
        (4, 4.0, None),
    ]


def test_a_run_from_the_beginning_has_a_record_of_its_own(tmp_path: Path) -> None:
    file, _ = record(tmp_path)
    file.write(1, 9, {"loss": 1.0})
    again, _ = record(tmp_path)
    again.write(1, 9, {"loss": 2.0})
    assert [row["loss"] for row in rows(tmp_path)] == [2.0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to stand for a full disk")
def test_a_full_disk_is_warned_of_once_and_survived(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    file, warnings = record(tmp_path)
    file.write(1, 9, {"loss": 1.0})
    file.write(2, 9, {"loss": 1.0})
    (warning,) = warnings
    assert warning.endswith("metrics.jsonl: No space left on device; the training goes on without this record.")


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'\n[1]\n{"step": 1, "loss": 1.0}\n\xff\xfe\nnull\n{"step": "2"}\n{"loss": 2.0}\n')
    assert len(list(metrics.read(path))) == 3
    record(tmp_path, start=5)
    assert rows(tmp_path) == [{"step": 1, "loss": 1.0}]


# --------------------------------------------------------------------------------------------------------- averages


def test_a_window_has_means_and_of_some_the_latest() -> None:
    window = Window()
    window.add({"loss": 1.0, "learning_rate": 0.1, "epoch": 0.5, "accuracy": 1.0}, Work(samples=4, tokens=10))
    window.add({"loss": 4.0, "learning_rate": 0.3, "epoch": 0.6}, Work(samples=5, tokens=20))
    assert window.means() == {"loss": 2.5, "learning_rate": 0.3, "epoch": 0.6, "accuracy": 1.0}
    assert (window.steps, window.work) == (2, Work(samples=9, tokens=30))


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), cut=st.integers(1, 7))
def test_a_window_goes_on_from_a_checkpoint(values: list[float], cut: int) -> None:
    whole, first = Window(), Window()
    for number, value in enumerate(values):
        whole.add({"loss": value}, Work(tokens=number, seconds=0.5))
        if number < cut:
            first.add({"loss": value}, Work(tokens=number, seconds=0.5))
    second = Window()
    second.restore(json.loads(json.dumps(first.state())))
    for number, value in list(enumerate(values))[cut:]:
        second.add({"loss": value}, Work(tokens=number, seconds=0.5))
    assert (second.means(), second.work, second.steps) == (whole.means(), whole.work, whole.steps)


def test_a_window_refuses_another_form() -> None:
    with pytest.raises(ValueError, match=r"another form: \['sums'\]"):
        Window().restore({"sums": {}})


# ------------------------------------------------------------------------------------------------------------ rates


def test_rates_by_hand() -> None:
    work = Work(samples=64, tokens=9_000, capacity_tokens=10_000, seconds=4.5)
    found = Throughput(device=torch.device("cpu")).values(work, steps=2)
    assert found.pop("memory_gib") > 0.01
    assert found == {"samples": 32, "tokens_per_s": 2000, "fill": 0.9}


def test_work_without_time_or_budget_has_no_rates() -> None:
    assert Throughput(device=torch.device("cpu")).values(Work(), steps=0).keys() == {"samples", "memory_gib"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it by another way")
def test_memory_is_the_most_that_the_process_held() -> None:
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak_memory_gib(torch.device("cpu")) == pytest.approx(int(kib) * 1024 / 2**30, rel=0.02)


def test_flops_by_hand() -> None:
    shape = ModelShape(parameters=1000, trained=1000, layers=2, attention_width=8)
    # Two sequences of 3 and 1 tokens: 6 · 1000 · 4 + 12 · 2 · 8 · (9 + 1)
    assert shape.flops(Work(tokens=4, square_tokens=10)) == 24_000 + 1_920
    # Of adapters the gradients alone: (4 · 1000 + 2 · 10) · 4
    adapters = ModelShape(parameters=1000, trained=10, layers=0, attention_width=8)
    assert adapters.flops(Work(tokens=4)) == 16_080


@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_of_a_model_by_hand(*, tied: bool) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=100, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # A layer: q and o 16 · 24, k and v 16 · 12, three of 16 · 32, two norms of 16; then a norm and the head.
    expected = 3 * (2 * 16 * 24 + 2 * 16 * 12 + 3 * 16 * 32 + 2 * 16) + 16 + 16 * 100
    assert ModelShape.of(model) == ModelShape(parameters=expected, trained=expected, layers=3, attention_width=24)
    model.requires_grad_(requires_grad=False)
    model.model.norm.requires_grad_(requires_grad=True)
    assert ModelShape.of(model).trained == 16


def test_of_a_mixture_the_experts_that_a_token_visits_count() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2}
    few = MixtralForCausalLM(MixtralConfig(**sizes, **heads, num_local_experts=2))
    many = MixtralForCausalLM(MixtralConfig(**sizes, **heads, num_local_experts=8))
    # The gate, 8 · experts, is asked whole.
    assert ModelShape.of(many).parameters - ModelShape.of(few).parameters == 8 * (8 - 2)


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla T4", 65),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("NVIDIA RTX A1000", None),
        ("AMD Instinct MI300X", None),
        ("", None),
    ],
)
def test_a_gpu_is_known_by_its_name(name: str, tera: float | None) -> None:
    found = peak_flops(name)
    assert found is None if tera is None else found == tera * 1e12


def test_there_is_no_mfu_on_a_cpu() -> None:
    shape = ModelShape(parameters=1, trained=1, layers=1, attention_width=1)
    assert "mfu" not in Throughput(device=torch.device("cpu"), shape=shape).values(Work(tokens=1, seconds=1.0), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_mfu_on_a_gpu_is_the_share_of_its_peak() -> None:
    device = torch.device("cuda")
    peak = peak_flops(torch.cuda.get_device_name(device))
    shape = ModelShape(parameters=10**9, trained=10**9, layers=0, attention_width=0)
    values = Throughput(device=device, shape=shape, processes=2).values(Work(tokens=10**5, seconds=2.0), 1)
    assert values.get("mfu") == (None if peak is None else pytest.approx(6e14 / (2 * 2 * peak)))


# ----------------------------------------------------------------------------------------------------- the reporter


def reporter(path: Path, out: io.StringIO, *, total: int = 6, start: int = 0, every: int = 1) -> Reporter:
    return Reporter(
        path, Reports(), total, start_step=start, config={}, out=out, log_every=every,
        throughput=Throughput(device=torch.device("cpu")),
    )  # fmt: skip


def test_a_line_is_told_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    out = io.StringIO()
    told = reporter(tmp_path, out, every=4)
    for step in range(1, 7):
        told.step(step, {"loss": float(step)}, Work(samples=2, tokens=100, seconds=0.5))
    told.close()
    assert [(row["step"], row["loss"], row["samples"]) for row in rows(tmp_path)] == [(4, 2.5, 2), (6, 5.5, 2)]
    assert [read(line, line_format.PATTERNS)["loss"] for line in out.getvalue().splitlines()] == [2.5, 5.5]
    assert rows(tmp_path)[0]["tokens_per_s"] == 200


def test_an_interrupted_run_tells_the_averages_that_it_would_have_told(tmp_path: Path) -> None:
    losses = [0.5, 2.25, 1.0, 4.5, 3.0, 0.125]
    whole = reporter(tmp_path / "whole", io.StringIO(), every=3)
    for step, loss in enumerate(losses, start=1):
        whole.step(step, {"loss": loss}, Work(tokens=step, seconds=1.0))
    first = reporter(tmp_path / "cut", io.StringIO(), every=3)
    for step in range(1, 6):
        first.step(step, {"loss": losses[step - 1]}, Work(tokens=step, seconds=1.0))
        if step == 4:
            state = json.loads(json.dumps(first.state()))
    second = reporter(tmp_path / "cut", io.StringIO(), start=4, every=3)
    second.restore(state)
    for step in (5, 6):
        second.step(step, {"loss": losses[step - 1]}, Work(tokens=step, seconds=1.0))
    expected, found = (
        [{name: value for name, value in row.items() if name != "memory_gib"} for row in rows(tmp_path / name)]
        for name in ("whole", "cut")
    )
    assert found == expected


def test_an_evaluation_is_told_at_once(tmp_path: Path) -> None:
    out = io.StringIO()
    told = reporter(tmp_path, out, every=4)
    told.evaluation(3, {"eval/dev/loss": 1.5})
    assert rows(tmp_path) == [{"step": 3, "total_steps": 6, "eval/dev/loss": 1.5}]
    assert out.getvalue() == "step 3/6  eval/dev/loss 1.500\n"


def test_a_pipe_gets_plain_lines_alone(tmp_path: Path) -> None:
    out = io.StringIO()
    told = reporter(tmp_path, out)
    told.step(1, {"loss": 1.0})
    told.close()
    assert re.fullmatch(r"step 1/6  loss 1\.000  samples 0\.0  memory_gib [0-9.]+\n", out.getvalue())


@pytest.mark.parametrize(("rows", "columns"), [(24, 100), (0, 0)])
def test_a_terminal_gets_a_bar_with_rate_and_eta_below_the_lines(rows: int, columns: int) -> None:
    """A real terminal, and one that does not tell its size."""
    code = (
        "import sys, time; from smtrain_native.runtime.progress_bar import ProgressBar\n"
        "bar = ProgressBar(10, start=4, out=sys.stdout)\n"
        "bar.say('step 5/10  loss 1.000'); time.sleep(0.15); bar.advance(5); bar.close()"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    subprocess.run((sys.executable, "-c", code), env=env, stdout=theirs, check=True)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "step 5/10  loss 1.000\r\n" in text
    assert " 4/10 " in text
    assert re.search(r"50%\|.*\| 5/10 \[\d\d:\d\d<\S+, +\S+(step/s|s/step)\]", text)
