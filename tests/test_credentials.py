"""What looks like a credential is shown in no message."""

from __future__ import annotations

import pytest

from smtrain.cli import main
from smtrain.credentials import hidden, hidden_override

TOKEN = "hf_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"run {TOKEN}!", "run …!"),
        ("https://me:secret@host/x", "https://…@host/x"),
        ("s3://bucket/a:b", "s3://bucket/a:b"),
        ("plain", "plain"),
    ],
)
def test_a_credential_in_a_text_is_hidden(text: str, shown: str) -> None:
    assert hidden(text) == shown


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("secrets.HF_TOKEN=env:X", "secrets.HF_TOKEN=…"),
        ("+trainer.args.hub_token=abc", "+trainer.args.hub_token=…"),
        ("trainer.args.swanlab_api_key=abc", "trainer.args.swanlab_api_key=…"),
        ("trainer.args.add_tokens=<a>", "trainer.args.add_tokens=<a>"),
        (f"trainer.args.run_name=x-{TOKEN}", "trainer.args.run_name=x-…"),
        ("seed=1", "seed=1"),
    ],
)
def test_the_value_of_a_secret_is_hidden(override: str, shown: str) -> None:
    assert hidden_override(override) == shown


@pytest.mark.parametrize(
    "word",
    [
        f"trainer.args.hf_hub_token={TOKEN}",
        f"trainer.args.run_name={TOKEN}",
        f"trainer.args.nope={TOKEN}",
        f"nope.x={TOKEN}",
        f"secrets.T={TOKEN}",
        f"secrets.T={TOKEN}%",
        f"model={TOKEN}",
        f"data.path=https://me:{TOKEN}@host/x.json",
    ],
)
@pytest.mark.usefixtures("tmp_path")
def test_no_message_repeats_a_token_that_was_typed(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "model.path=ORG/NAME", word, "--json"]) == 2
    captured = capsys.readouterr()
    assert TOKEN not in captured.err + captured.out
