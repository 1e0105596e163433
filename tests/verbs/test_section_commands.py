"""Commands about a section of their plugin's own: composed, typed, located, checked, written, submitted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import Smtrain

PLUGIN = """\
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Mapping

from msgspec import Meta
from smtrain.plugin import Bundle, BundleFile, CommandSpec, Exec, ExitCode, Problem, hookimpl, warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Boat:
    name: str
    masts: Annotated[int, Meta(ge=0, description="Of the boat.")] = 1
    crew: Mapping[str, int] = field(default_factory=dict)


def check(boat):
    if boat.masts > 3:
        yield Problem(key="boat.masts", what="Too many masts.", fix="Take three.")
    if not boat.crew:
        yield warning("boat.crew", "Nobody is aboard.")


class Show:
    def arguments(self, parser):
        parser.add_argument("--loud", action="store_true")

    def run(self, compiler, flags, out):
        boat = compiler.section(check)
        out.say(boat.name.upper() if flags.loud else boat.name)
        out.result({"name": boat.name, "masts": boat.masts})
        return ExitCode.DONE


class Launch(Show):
    def run(self, compiler, flags, out):
        boat = compiler.section()
        text = f"{boat.name} {boat.masts}"
        file = BundleFile(path="papers.txt", content=text.encode())
        actions = (Exec(argv=("cp", "papers.txt", "../sailed.txt")),)
        bundle = Bundle(name=boat.name, backend="sea", trainer="", files=(file,), actions=actions)
        written = compiler.write(bundle, Path("harbour"))
        if flags.loud:
            (written / "bundle" / "papers.txt").write_text("forged")
        out.say(f"{len(compiler.actions(written))} action")
        if compiler.may("Sail?", [("boat", boat.name)]):
            compiler.submit(written)
        return ExitCode.DONE


class Broken(Show):
    def run(self, compiler, flags, out):
        raise KeyError("keel")


@hookimpl
def smtrain_commands():
    for name, load in (("boat show", "Show"), ("boat launch", "Launch"), ("boat broken", "Broken")):
        yield CommandSpec(
            name=name,
            load=f"acme_boats:{load}",
            summary=f"What {name} does.",
            section="boat",
            options="acme_boats:Boat",
        )


@hookimpl
def smtrain_config_paths():
    return ["pkg://acme_boats_conf"]
"""


@pytest.fixture
def boats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smtrain: Smtrain) -> Smtrain:
    """The command, with a plugin of another distribution that brings a section and a group of its own."""
    site = tmp_path / "site"
    metadata = site / "smtrain_acme-1.2.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: smtrain-acme\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[smtrain]\nacme = acme_boats\n")
    (site / "acme_boats.py").write_text(PLUGIN)
    (site / "acme_boats_conf" / "boat").mkdir(parents=True)
    (site / "acme_boats_conf" / "__init__.py").touch()
    (site / "acme_boats_conf" / "boat" / "ketch.yaml").write_text("name: ketch\nmasts: 2\n")
    monkeypatch.syspath_prepend(str(site))
    for name in ("acme_boats", "acme_boats_conf"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # that of another test
    return smtrain


def test_a_section_is_composed_from_its_group_and_overridden(boats: Smtrain) -> None:
    told = boats("boat", "show", "boat=ketch", "boat.masts=3", "--json").document
    assert told == {"name": "ketch", "masts": 3}


def test_its_flags_and_those_of_hydra_are_taken(boats: Smtrain, here: Path) -> None:
    (here / "mine" / "boat").mkdir(parents=True)
    (here / "mine" / "boat" / "own.yaml").write_text("defaults:\n  - ketch\n  - _self_\nname: own\n")
    assert boats("boat", "show", "--loud", "--config-dir", "mine", "boat=own").out == "OWN\n"


def test_what_is_wrong_is_told_at_once_and_located(boats: Smtrain) -> None:
    answer = boats("boat", "show", "boat=ketch", "boat.masts=4", "boat.keel=deep", "baot.name=x")
    assert answer.code == 2
    assert "override `boat.masts=4`: boat.masts: Too many masts." in answer.err
    assert "override `boat.keel=deep`: boat.keel: Unknown key." in answer.err
    assert "override `baot.name=x`: baot: Unknown key.\n  Did you mean `boat`?" in answer.err


def test_what_the_class_refuses_is_told_by_its_schema(boats: Smtrain) -> None:
    answer = boats("boat", "show", "boat=ketch", "boat.masts=-1")
    assert answer.code == 2
    assert "boat.masts: `-1` is too small; the least is 0." in answer.err


def test_a_required_value_that_nobody_said_is_told(boats: Smtrain) -> None:
    answer = boats("boat", "show")
    assert answer.code == 2
    assert "boat.name: A value is required." in answer.err


def test_warnings_are_shown_and_located_and_stop_nothing(boats: Smtrain) -> None:
    answer = boats("boat", "show", "boat=ketch", "boat.crew={}")
    assert answer.code == 0
    assert "warning: override `boat.crew={}`: boat.crew: Nobody is aboard." in answer.err


def test_a_bundle_is_written_proven_and_submitted(boats: Smtrain, here: Path) -> None:
    answer = boats("boat", "launch", "boat=ketch")
    assert (answer.code, answer.out) == (0, "1 action\n")
    (home,) = (path for path in (here / "harbour").iterdir() if not path.name.startswith("."))
    assert home.name.startswith("ketch-")
    assert (home / "sailed.txt").read_text() == "ketch 2"
    manifest = json.loads((home / "bundle" / "manifest.json").read_text())
    assert manifest["plugins"]["smtrain-acme"] == "1.2"


def test_a_bundle_that_was_changed_is_not_submitted(boats: Smtrain, here: Path) -> None:
    answer = boats("boat", "launch", "boat=ketch", "--loud")
    assert answer.code == 2
    assert "is not what was compiled: papers.txt" in answer.err
    assert not list((here / "harbour").glob("*/sailed.txt"))


def test_a_secret_is_not_written(boats: Smtrain, here: Path) -> None:
    answer = boats("boat", "launch", "boat=ketch", "boat.name=AKIAIOSFODNN7EXAMPLE")
    assert answer.code == 2
    assert "stands in the bundle's `papers.txt`" in answer.err
    assert not (here / "harbour").exists()


def test_a_broken_command_is_blamed_on_its_distribution(boats: Smtrain) -> None:
    answer = boats("boat", "broken", "boat=ketch")
    assert answer.code == 3
    assert "`boat broken`, of smtrain-acme 1.2, failed: KeyError: 'keel'" in answer.err


def test_explain_tells_of_the_section(boats: Smtrain) -> None:
    told = boats("explain", "boat.masts", "+boat=ketch").out
    assert "value      2" in told
    assert "meaning    Of the boat." in told


def test_a_run_may_have_the_section_too_and_its_mistakes_are_found(boats: Smtrain) -> None:
    assert boats("plan", "+boat=ketch", "backend.python=python3").code == 0
    wrong = boats("plan", "+boat=ketch", "boat.masts=many")
    assert wrong.code == 2
    assert "boat.masts: `many` is text; wanted is a whole number." in wrong.err


def test_help_tells_the_flags(boats: Smtrain) -> None:
    told = boats("boat", "show", "--help").out
    assert {"--loud", "--yes,", "--json"} <= set(told.split())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('section="boat"', 'section="Boat"'), "smtrain_commands returned"),
        (('options="acme_boats:Boat"', 'options=""'), "smtrain_commands returned"),
        (('options="acme_boats:Boat"', 'options=f"acme_boats:{load}"'), "Two plugins offer a section called `boat`"),
    ],
)
def test_a_section_that_makes_no_sense_is_the_plugin_s_fault(
    change: tuple[str, str], said: str, boats: Smtrain, here: Path
) -> None:
    (here / "site" / "acme_boats.py").write_text(PLUGIN.replace(*change))
    answer = boats("boat", "show", "boat=ketch")
    assert answer.code in (2, 3)
    assert said in answer.err
