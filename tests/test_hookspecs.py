"""Every hook is documented in docs/plugins.md, and does what it says for a plugin that is found by its entry point."""

from __future__ import annotations

import argparse
import inspect
import io
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from smtrain import hookspecs
from smtrain.console import Console
from smtrain.errors import ExitCode, SmtrainError
from smtrain.hookspecs import Event
from smtrain.registry import Registry
from smtrain.spec import Receipt, State
from smtrain.testing import compile_overrides

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS: dict[str, Callable[..., object]] = {
    name: function for name, function in vars(hookspecs).items() if hasattr(function, f"{hookspecs.GROUP}_spec")
}

TRAINER = """\
from dataclasses import dataclass
from smtrain.plugin import Demands, Program, Step, TrainerSpec, hookimpl

@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    word: str = "hello"

class Trainer:
    def demands(self, run, options):
        return Demands(rows=None)
    def check(self, job, options):
        return ()
    def lower(self, job, options):
        return Program(steps=(Step(name="say", argv=("echo", options.word)),))

@hookimpl
def smtrain_trainers():
    yield TrainerSpec(name="acme", load=f"{__name__}:Trainer", options=f"{__name__}:Options", summary="Ours.")
"""

BACKEND = """\
from dataclasses import dataclass
from smtrain.plugin import BackendSpec, Bundle, BundleFile, hookimpl

@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    hour: int = 0

class Backend:
    def check(self, job, program, options):
        return ()
    def lower(self, job, program, options):
        content = f"{options.hour}: {program.steps[0].argv}".encode()
        files = (BundleFile(path="crontab", content=content),)
        return Bundle(name=job.run.name, backend="acme", trainer=job.run.trainer.name, files=files, actions=())

@hookimpl
def smtrain_backends():
    yield BackendSpec(name="acme", load=f"{__name__}:Backend", options=f"{__name__}:Options", summary="Tonight.")
"""

IMPORTER = """\
from smtrain.plugin import ImporterSpec, hookimpl

class Importer:
    def convert(self, text, *, source, root):
        return f"# {source}\\nname: {text}\\n"

@hookimpl
def smtrain_importers():
    yield ImporterSpec(name="acme", load=f"{__name__}:Importer", summary="Acme's files.")
"""

COMMANDS = """\
from smtrain.plugin import CommandSpec, ExitCode, hookimpl

class Price:
    def arguments(self, parser):
        parser.add_argument("--currency", default="EUR")
    def run(self, job, program, flags, out):
        out.say(f"{job.run.name}, {len(program.steps)} step: 3 {flags.currency}")
        return ExitCode.DONE

@hookimpl
def smtrain_commands():
    yield CommandSpec(name="acme price", load=f"{__name__}:Price", summary="Tells what a run is worth.")
"""

CONFIG_PATHS = """\
from smtrain.plugin import hookimpl

@hookimpl
def smtrain_config_paths():
    return ["pkg://acme_conf"]
"""

CHECKS = """\
from smtrain.plugin import Problem, hookimpl

@hookimpl
def smtrain_checks(job):
    if job.batch.global_size > 8:
        yield Problem(key="global_batch_size", what="More than the house allows.", fix="Say 8 or less.")
"""

ON_EVENT = """\
from smtrain.plugin import hookimpl

@hookimpl
def smtrain_on_event(event):
    with open(event.run_dir + "/heard", "a") as heard:
        heard.write(f"{event.kind} {event.receipt.state.value}\\n")
"""

Installed = Callable[..., Registry]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Returns a function that gives the registry of these modules, as if installed, beside smtrain's own plugins."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(**modules: str) -> Registry:
        own = (("local", "smtrain_local.plugin"), ("llamafactory", "smtrain_llamafactory.plugin"))
        points = [EntryPoint(name, value, hookspecs.GROUP) for name, value in own]
        for name, text in modules.items():
            # Modules stay imported from one test to the next, so each has a name of its own.
            module = f"{name}_{re.sub(r'[^a-z0-9]', '_', tmp_path.name.lower())}"
            (folder / f"{module}.py").write_text(text, encoding="utf-8")
            points.append(EntryPoint(name, module, hookspecs.GROUP))
        return Registry(points)

    return install


@pytest.fixture
def acme_config(tmp_path: Path) -> Path:
    """A folder of configs that choose the trainer and the backend `acme`."""
    for group in ("trainer", "backend"):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "acme.yaml").write_text("name: acme\n", encoding="utf-8")
    return tmp_path / "conf"


def section(hook: str) -> str:
    """Returns what the page says below the heading of a hook."""
    _, _, rest = PAGE.partition(f"\n### {hook}\n")
    return re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_there_are_hooks() -> None:
    assert {"smtrain_trainers", "smtrain_backends"} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented_with_its_signature_and_sentence(hook: str) -> None:
    signature = f"def {hook}{inspect.signature(HOOKS[hook])}: ...".replace("'", "")
    sentence = (inspect.getdoc(HOOKS[hook]) or "").splitlines()[0]
    assert signature in section(hook)
    assert sentence in section(hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_an_example_on_the_page(hook: str) -> None:
    assert re.search(rf"^@hookimpl\ndef {hook}\(", PAGE, re.MULTILINE)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test(hook: str) -> None:
    assert any(name.startswith(f"test_{hook}_") for name in globals()), f"write a test_{hook}_… in this file"


def test_smtrain_trainers_offers_a_trainer_that_lowers(installed: Installed, acme_config: Path) -> None:
    compiled = compile_overrides(
        ("trainer=acme", "trainer.word=hi"), config_dir=acme_config, registry=installed(acme=TRAINER)
    )
    assert compiled.program.steps[0].argv == ("echo", "hi")


def test_smtrain_backends_offers_a_backend_that_lowers(installed: Installed, acme_config: Path) -> None:
    registry = installed(acme=TRAINER, cron=BACKEND)
    words = ("trainer=acme", "backend=acme", "backend.hour=3")
    (file,) = compile_overrides(words, config_dir=acme_config, registry=registry).bundle.files
    assert file.content == b"3: ('echo', 'hello')"


def test_smtrain_importers_offers_an_importer_that_converts(installed: Installed, tmp_path: Path) -> None:
    importer = installed(acme=IMPORTER).importer("acme")
    assert importer.convert("tides", source="tides.acme", root=tmp_path) == "# tides.acme\nname: tides\n"


def test_smtrain_commands_offers_a_command_that_is_handed_the_run(installed: Installed) -> None:
    registry = installed(acme=COMMANDS)
    assert list(registry.commands) == ["acme price"]
    command, parser, out = registry.command("acme price"), argparse.ArgumentParser(), io.StringIO()
    command.arguments(parser)
    compiled = compile_overrides(("name=tides",), registry=registry)
    flags = parser.parse_args(["--currency=SEK"])
    code = command.run(compiled.job, compiled.program, flags, Console(as_json=False, out=out))
    assert (code, out.getvalue()) == (ExitCode.DONE, "tides, 1 step: 3 SEK\n")


def test_smtrain_config_paths_adds_groups_that_have_origins(installed: Installed, tmp_path: Path) -> None:
    experiment = tmp_path / "site" / "acme_conf" / "experiment" / "house.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\nname: house\nseed: 7\n", encoding="utf-8")

    compiled = compile_overrides(("experiment=house",), registry=installed(acme=CONFIG_PATHS))

    assert compiled.job.run.seed == 7
    origin = compiled.composed.origins.of("seed")
    assert origin is not None
    assert origin.line == 3
    assert origin.source.endswith("acme_conf/experiment/house.yaml")


def test_smtrain_checks_stops_a_compile_at_the_override_at_fault(installed: Installed) -> None:
    registry = installed(acme=CHECKS)
    assert compile_overrides(("global_batch_size=8",), registry=registry)
    with pytest.raises(SmtrainError, match=r"override `global_batch_size=9`.*More than the house allows\."):
        compile_overrides(("global_batch_size=9",), registry=registry)


def test_smtrain_on_event_is_told_and_cannot_take_the_command_down(installed: Installed, tmp_path: Path) -> None:
    registry = installed(acme=ON_EVENT)
    receipt = Receipt(run_id="tides", backend="local", state=State.SUCCEEDED)

    registry.announce(Event(kind="ended", run_dir=str(tmp_path), receipt=receipt))
    registry.announce(Event(kind="ended", run_dir=str(tmp_path / "absent"), receipt=receipt))

    assert (tmp_path / "heard").read_text(encoding="utf-8") == "ended succeeded\n"
    (broken,) = registry.broken
    assert "FileNotFoundError" in broken.error


def test_hook_that_raises_leaves_its_plugin_out_and_the_others_in(installed: Installed) -> None:
    text = CHECKS.replace("if job.batch.global_size > 8:", "if job.no_such_attribute:")
    compiled = compile_overrides((), registry=installed(acme=text))
    (broken,) = [problem for problem in compiled.warnings if "is broken" in problem.what]
    assert "acme" in broken.what
    assert "no_such_attribute" in broken.what


def test_unknown_hook_is_reported(installed: Installed) -> None:
    text = "from smtrain.plugin import hookimpl\n@hookimpl\ndef smtrain_trainer():\n    return []\n"
    (broken,) = installed(acme=text).broken
    assert "smtrain_trainer" in broken.error
