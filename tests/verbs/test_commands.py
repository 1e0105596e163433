"""Commands that a plugin brings: found, listed, explained, handed the run, and blamed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import Answer, Smtrain

PLUGIN = """\
from smtrain.plugin import CommandSpec, ExitCode, Problem, SmtrainError, fail, hookimpl, warning


class Price:
    def arguments(self, parser):
        parser.add_argument("--currency", required=True)

    def run(self, job, program, flags, out):
        out.problems([warning("", "Prices change.")])
        out.say(f"{job.run.name} at seed {job.run.seed}: 3 {flags.currency}")
        out.result({"price": 3, "currency": flags.currency})
        return ExitCode.DONE


class Check:
    def arguments(self, parser):
        pass

    def run(self, job, program, flags, out):
        raise fail("Nobody pays for this.", "Choose another.", key="seed")


class Raises(Check):
    def run(self, job, program, flags, out):
        raise KeyError("price")


class Nothing(Check):
    def run(self, job, program, flags, out):
        pass


class Clashes(Check):
    def arguments(self, parser):
        parser.add_argument("--config-dir")


@hookimpl
def smtrain_commands():
    loads = {"acme price": "Price", "acme check": "Check", "acme raises": "Raises", "acme gone": "Gone"}
    loads |= {"acme nothing": "Nothing", "acme clashes": "Clashes", "appraise": "Price"}
    for name, load in loads.items():
        yield CommandSpec(name=name, load=f"acme_commands:{load}", summary=f"Sums up {name}.")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smtrain: Smtrain) -> Smtrain:
    """The command, with a plugin of another distribution installed."""
    site = tmp_path / "site"
    metadata = site / "smtrain_acme-1.2.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: smtrain-acme\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[smtrain]\nacme = acme_commands\n")
    (site / "acme_commands.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "acme_commands", raising=False)  # that of another test
    return smtrain


def problem(answer: Answer) -> str:
    assert "Traceback" not in answer.err
    return answer.err


def test_a_command_is_handed_the_run_and_its_own_flags(acme: Smtrain) -> None:
    answer = acme("acme", "price", "--currency", "SEK", "name=tides", "seed=5")
    assert (answer.code, answer.out) == (0, "tides at seed 5: 3 SEK\n")
    assert "warning: Prices change.\n" in answer.err


def test_its_result_is_one_line_of_json(acme: Smtrain) -> None:
    assert acme("acme", "price", "name=tides", "--json", "--currency=SEK").document == {"price": 3, "currency": "SEK"}


def test_a_command_may_be_one_word(acme: Smtrain) -> None:
    assert acme("appraise", "--currency=SEK", "name=tides").out.startswith("tides at seed")


def test_nothing_is_written(acme: Smtrain, here: Path) -> None:
    assert acme("acme", "price", "--currency=SEK").code == 0
    assert not (here / "runs").exists()


def test_hydras_flags_work_as_for_any_other(acme: Smtrain, here: Path) -> None:
    (here / "conf" / "experiment").mkdir(parents=True)
    (here / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\n")
    assert acme("acme", "price", "--currency=SEK", "--config-dir", "conf", "experiment=mine").out.startswith("mine at")
    shown = acme("acme", "price", "--currency=SEK", "--cfg", "job", "name=tides").out
    assert "name: tides\n" in shown
    swept = acme("acme", "price", "--currency=SEK", "-m", "seed=1,2")
    assert swept.code == 2
    assert "acme price takes one" in problem(swept)


@pytest.mark.parametrize("flags", [(), ("--help",), ("-h",)])
def test_the_first_word_alone_lists_its_commands(flags: tuple[str, ...], acme: Smtrain) -> None:
    answer = acme("acme", *flags)
    assert answer.code == 0
    assert "  price           Sums up acme price.\n" in answer.out
    assert "appraise" not in answer.out


def test_the_list_is_also_json(acme: Smtrain) -> None:
    assert acme("acme", "--json").document["acme price"] == "Sums up acme price."


def test_its_help_tells_its_flags_even_when_one_is_required(acme: Smtrain) -> None:
    answer = acme("acme", "price", "--help")
    assert answer.code == 0
    assert {"--currency", "--json"} <= set(answer.out.split())
    assert "Sums up acme price." in answer.out


@pytest.mark.parametrize(
    ("words", "said", "fix"),
    [
        (("acme", "prize"), "`acme prize` is no command", "Did you mean `price`?"),
        (("acme", "seed=1"), "`acme seed=1` is no command", "Choose one of: check, clashes"),
        (("acne",), "`acne` is no verb", "Did you mean `acme`?"),
        (("apprise",), "`apprise` is no verb", "Did you mean `appraise`?"),
        (("acme-price",), "`acme-price` is no verb", "Did you mean `acme price`?"),
        (("zzz",), "`zzz` is no verb", "acme price"),
    ],
)
def test_what_is_no_command_is_told_with_the_likeliest(
    words: tuple[str, ...], said: str, fix: str, acme: Smtrain
) -> None:
    answer = acme(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in problem(answer)
    assert fix in answer.err


def test_what_it_objects_to_is_located(acme: Smtrain) -> None:
    answer = acme("acme", "check", "seed=7")
    assert answer.code == 2
    assert "error: override `seed=7`: seed: Nobody pays for this." in problem(answer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "KeyError: 'price'"),
        ("nothing", "None is not a valid ExitCode"),
        ("clashes", "--config-dir"),
        ("gone", "has no attribute 'Gone'"),
    ],
)
def test_a_broken_command_is_blamed_on_its_distribution(name: str, said: str, acme: Smtrain) -> None:
    answer = acme("acme", name)
    assert answer.code == 3
    assert said in problem(answer)
    assert "smtrain-acme 1.2" in answer.err


@pytest.mark.parametrize("name", ["Acme price", "acme  price", "acme price now", "", "acme=price", "--price"])
def test_a_name_that_no_command_line_can_say_makes_its_plugin_broken(name: str, acme: Smtrain, here: Path) -> None:
    (here / "site" / "acme_commands.py").write_text(
        PLUGIN.replace("yield CommandSpec(name=name", f"yield CommandSpec(name={name!r}")
    )
    listed = acme("plugins", "--json")
    assert listed.code == 3
    (broken,) = json.loads(listed.out)["broken"]
    assert "smtrain_commands returned" in broken


def test_a_plugin_that_does_not_load_is_told_where_its_command_is_missed(acme: Smtrain, here: Path) -> None:
    (here / "site" / "acme_commands.py").write_text("raise ValueError('the reason')\n")
    answer = acme("acme", "price")
    assert answer.code == 2
    assert "the reason" in problem(answer)
