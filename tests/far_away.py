"""A backend of another distribution whose jobs go on without the command that launched them.

`installed` makes it known to this process and to those that it starts. A job is a line of bash that writes its output
to `far/algo-N.log` in the run's folder, in a session of its own.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = '''
import os, shutil, subprocess, time
from dataclasses import dataclass, replace
from pathlib import Path
from smtrain.plugin import (
    BackendSpec, Bundle, BundleFile, Cost, Exec, ExitCode, Finding, LogLine, Receipt, State, fail, hookimpl, receipts
)

HAND_OVER = """
mkdir -p ../far
rm -f ../far/code
setsid bash -c 'bash job.sh; echo $? >../far/code.new; mv ../far/code.new ../far/code' </dev/null >/dev/null 2>&1 &
"""

@dataclass(frozen=True, kw_only=True)
class Options:
    script: str = "echo hello >>algo-1.log"
    usd_per_hour: float | None = None
    max_hours: float | None = 2.0
    healthy: bool = True

class Afar:
    def check(self, job, program, options):
        return ()

    def lower(self, job, program, options):
        cost = Cost(usd_per_hour=options.usd_per_hour, max_hours=options.max_hours, basis="the test's price")
        return Bundle(
            name=job.run.name, backend="afar", trainer=job.run.trainer.name,
            files=(
                BundleFile(path="job.sh", content=f"cd ../far; {options.script}".encode()),
                BundleFile(path="hand-over.sh", content=HAND_OVER.encode()),
                BundleFile(path="steps", content=str([step.argv for step in program.steps]).encode()),
                *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
                *(BundleFile(path=f"library/{file.path}", content=file.text.encode()) for file in program.library),
            ),
            actions=(Exec(argv=("bash", "hand-over.sh")),),
            progress=program.progress,
            cost=None if options.usd_per_hour is None else cost,
            facts=(("hosts", "2 × far away"),),
        )

    def status(self, run_dir, receipt):
        if receipt.state is not State.RUNNING:
            return receipt
        if not (run_dir / "far" / "code").exists():
            return replace(receipt, usd=1.5, step="Training")
        code = int((run_dir / "far" / "code").read_text())
        state = State.FAILED if code else State.SUCCEEDED
        reason = f"exit code: {code}, in the target's words" if code else ""
        ended = receipt.started + 9
        now = replace(receipt, state=state, exit_code=code, reason=reason, ended=ended, usd=3.25, job="j-1")
        receipts.write(run_dir, now)
        return now

    def logs(self, run_dir, receipt, *, follow):
        seen = {}
        while True:
            ended = (run_dir / "far" / "code").exists()
            for path in sorted((run_dir / "far").glob("algo-*.log")):
                lines = path.read_text().splitlines()
                for line in lines[seen.get(path, 0):]:
                    yield LogLine(text=line, host=path.stem)
                seen[path] = len(lines)
            if ended or not follow:
                return
            time.sleep(0.05)

    def stop(self, run_dir, receipt):
        return receipt

    def fetch(self, run_dir, receipt, *, parts, observer):
        found = []
        for part in parts:
            source = run_dir / "far" / part
            place = run_dir / ("work/output/trainer_log.jsonl" if part == "metrics" else f"output/{part}")
            if source.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
                found.append(place)
                observer.line(f"smtrain: fetching {part}")
        return tuple(found)

    def diagnose(self, job, bundle, options):
        yield Finding(subject="role", good=True, what="It is there.")
        if options.script == "no credentials":
            raise fail("There are no credentials.", "Get some.", code=ExitCode.MISSING_HERE)
        yield Finding(subject="quota", good=None, what="It could not be looked at.", fix="Allow it.")
        yield Finding(subject="image", good=options.healthy, what="It was looked for.", fix="Push it.")

    def rehearse(self, run_dir, rehearsal, *, env, observer):
        observer.line(f"rehearsing {sorted(rehearsal.inputs)} {rehearsal.timeout_s} {rehearsal.docker}")
        observer.line(f"resume {env['SMTRAIN_RESUME']}")
        (run_dir / "left-over").write_text("")
        script = (run_dir / "bundle" / "job.sh").read_text().removeprefix("cd ../far; ")
        code = subprocess.run(["bash", "-c", script], cwd=run_dir).returncode
        state = State.FAILED if code else State.SUCCEEDED
        reason = "AlgorithmError" if code else ""
        return Receipt(run_id=run_dir.name, backend="afar", state=state, exit_code=code, reason=reason)

@hookimpl
def smtrain_backends():
    return [BackendSpec(name="afar", load="afar_plugin:Afar", options="afar_plugin:Options", summary="Elsewhere.")]

@hookimpl
def smtrain_config_paths():
    return [f"file://{Path(__file__).parent / 'afar_conf'}"]
'''


@pytest.fixture
def afar(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installs the backend, for this process and those that it starts; returns the folder that it lies in."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "afar_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (folder / "afar_conf" / "backend").mkdir(parents=True)
    (folder / "afar_conf" / "backend" / "afar.yaml").write_text("name: afar\n")
    about = folder / "afar-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: afar\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[smtrain]\nafar = afar_plugin\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))
    monkeypatch.delenv("CI", raising=False)
    yield folder
    sys.modules.pop("afar_plugin", None)
