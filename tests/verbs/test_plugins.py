from __future__ import annotations

from importlib.metadata import version

from commands import Smtrain

from smtrain.registry import Registry


def test_trainers_backends_and_importers_are_listed_with_their_distribution(smtrain: Smtrain) -> None:
    answer = smtrain("plugins")
    assert answer.code == 0
    lines = answer.out.splitlines()
    ours = f"[smtrain {version('smtrain')}]"
    assert any(line.startswith("trainer") and line.endswith(ours) for line in lines)
    assert any(line.startswith("backend") for line in lines)
    assert any(line.split()[0] == "local" and "This machine." in line for line in lines)
    assert any("llamafactory" in line for line in lines if line.startswith("importer"))
    assert any(line.split()[0] == "lf_sft" for line in lines)
    assert any(line.startswith("command") for line in lines)
    assert any(line.split()[:2] == ["data", "plan-batches"] for line in lines)


def test_json_holds_the_same(smtrain: Smtrain) -> None:
    document = smtrain("plugins", "--json").document
    assert [trainer["name"] for trainer in document["trainer"]] == list(Registry().trainers)
    assert "local" in [backend["name"] for backend in document["backend"]]
    assert document["broken"] == []
    assert document["trainer"][0]["from"] == f"smtrain {version('smtrain')}"
