"""Whatever a plugin does wrong is said in one message that names it, and takes nothing else down."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from smtrain import hookspecs
from smtrain.errors import ExitCode, SmtrainError
from smtrain.registry import Registry
from smtrain.testing import compile_overrides

OWN = (("local", "smtrain_local.plugin"), ("llamafactory", "smtrain_llamafactory.plugin"))
TRAINER = """
    from dataclasses import dataclass
    from smtrain.plugin import Demands, Program, Step, TrainerSpec, hookimpl

    class Plain:
        pass

    @dataclass(frozen=True)
    class Options:
        word: {type} = "hello"

    INSTANCE = Options()

    class Trainer:
        def demands(self, run, options):
            return {demands}
        def check(self, job, options):
            return ()
        def lower(self, job, options):
            return {lower}

    @hookimpl
    def smtrain_trainers():
        here = __name__
        yield TrainerSpec(name="acme", load=f"{{here}}:Trainer", options=f"{{here}}:{options}", summary="Ours.")
"""
WHOLE = {
    "type": "str",
    "demands": "Demands(rows=None)",
    "lower": 'Program(steps=(Step(name="say", argv=("echo",)),))',
    "options": "Options",
}
Installed = Callable[[str], Registry]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Returns a function that gives the registry of a module, as if installed, beside smtrain's own plugins."""
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "acme.yaml").write_text("name: acme\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    module = f"acme_{re.sub(r'[^a-z0-9]', '_', tmp_path.name.lower())}"

    def install(text: str) -> Registry:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        points = [("acme", module), *OWN]
        return Registry([EntryPoint(name, value, hookspecs.GROUP) for name, value in points])

    return install


def compiled(registry: Registry) -> None:
    compile_overrides(["trainer=acme", "model.path=ORG/NAME"], config_dir="conf", registry=registry)


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("options", "Plain", "is no dataclass"),
        ("options", "INSTANCE", "is no dataclass"),
        ("type", "'Undefined'", "NameError"),
        ("demands", "None", "demands returned None, which is no Demands"),
        ("lower", "None", "lower returned None, which is no Program"),
        ("lower", "'x'", "lower returned 'x', which is no Program"),
    ],
)
def test_a_trainer_that_breaks_its_interface_is_blamed(part: str, text: str, said: str, installed: Installed) -> None:
    with pytest.raises(SmtrainError) as caught:
        compiled(installed(TRAINER.format(**WHOLE | {part: text})))
    assert caught.value.exit_code is ExitCode.BROKEN_PLUGIN
    assert said in str(caught.value)
    assert "`acme`" in str(caught.value)


def test_the_trainer_as_it_should_be_compiles(installed: Installed) -> None:
    compiled(installed(TRAINER.format(**WHOLE)))


@pytest.mark.parametrize(
    "body",
    [
        'def smtrain_trainers():\n    return ["lf_sft"]',
        "def smtrain_trainers():\n    return 5",
        'def smtrain_config_paths():\n    return "pkg://acme"',
        "def smtrain_config_paths():\n    return [3]",
        'def smtrain_config_paths():\n    return ["zip://acme"]',
        'def smtrain_checks(job):\n    return ["too large"]',
        "def smtrain_checks(job):\n    raise SystemExit(7)",
    ],
)
def test_a_hook_that_returns_something_else_is_left_out(body: str, installed: Installed) -> None:
    registry = installed(f"from smtrain.plugin import hookimpl\n@hookimpl\n{body}\n")
    found = compile_overrides(["model.path=ORG/NAME"], registry=registry)
    assert any("Plugin `acme`" in problem.what and "is broken" in problem.what for problem in found.warnings)


def test_a_plugin_that_exits_while_it_is_imported_is_left_out(installed: Installed) -> None:
    registry = installed("raise SystemExit(7)")
    assert [broken.error for broken in registry.broken] == ["SystemExit: 7"]


def test_a_broken_plugin_is_told_beside_what_follows_from_it(installed: Installed) -> None:
    hook = (
        "from smtrain.plugin import hookimpl\n@hookimpl\ndef smtrain_trainers():\n    raise ValueError('the reason')\n"
    )
    with pytest.raises(SmtrainError) as caught:
        compiled(installed(hook))
    assert "the reason" in str(caught.value)


def test_the_guest_of_two_with_one_name_is_to_be_uninstalled(installed: Installed) -> None:
    text = TRAINER.format(**WHOLE).replace('name="acme"', 'name="lf_sft"')
    with pytest.raises(SmtrainError) as caught:
        compile_overrides(["model.path=ORG/NAME"], registry=installed(text))
    assert "Two plugins offer a trainer called `lf_sft`" in str(caught.value)
