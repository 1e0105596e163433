"""Packed, prefix-shared, chunked: the same losses and gradients as the plain padded computation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from native_trainings import PAIRS, ListOf, Tokens, tokens
from smtrain_native.runtime import attention, logprobs, losses, model
from smtrain_native.runtime.layout import pack
from smtrain_native.runtime.objective import Preference, Supervised
from smtrain_native.runtime.pair_logps import PairLogps
from smtrain_native.runtime.samples import Joined
from smtrain_native.runtime.settings import Data, Loss, Model, Settings, Training, Tuning

PREFERENCES = ("dpo", "ipo", "hinge", "cdpo", "ln_dpo", "simpo", "sampo", "orpo")
CPU = torch.device("cpu")
REFERENCE = np.linspace(-40, -10, 2 * len(PAIRS)).reshape(-1, 2)
TURNS = dataclasses.replace(tokens("f", 8, 10, 6), masks=(np.arange(10) % 4 > 0, None))
"""A pair one of whose responses spans turns, not all of them trained on."""

SFT = [tokens("a", 5, 7), tokens("b", 20, 1), tokens("c", 1, 30)]


def settings(folder: Path, tuning: str, loss: Loss, attends: str = "auto") -> Settings:
    return Settings(
        kind="sft" if loss.kind == "sft" else "preference",
        model=Model(path=str(folder), attention=attends),
        data=Data(sets=()),
        tuning=Tuning(kind=tuning, rank=4),
        loss=loss,
        training=Training(precision="fp32"),
    )


def loaded(run: Settings) -> model.Loaded:
    """A model whose adapter, where there is one, already does something."""
    torch.manual_seed(0)
    found = model.load(run, CPU, trained=True)
    with torch.no_grad():
        for name, parameter in found.packed.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.05)
    return found


def gradients(found: model.Loaded) -> dict[str, torch.Tensor]:
    return {name: each.grad for name, each in found.packed.named_parameters() if each.requires_grad}


class Padded:
    """What a trainer without any of this does: rows padded on the right, all scores, a log-softmax."""

    def __init__(self, run: Settings) -> None:
        self.found = loaded(dataclasses.replace(run, model=dataclasses.replace(run.model, attention="separate")))

    def sums(self, samples: list[Tokens]) -> torch.Tensor:
        """The log-probability of each response; shape (S,)."""
        sequences = [(each, number) for each in samples for number in range(len(each.responses))]
        rows = [np.concatenate((each.prompt, each.responses[number])) for each, number in sequences]
        width = max(map(len, rows))
        ids = torch.tensor(np.stack([np.pad(row, (0, width - len(row))) for row in rows]).astype(np.int64))
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        hidden = self.found.packed.causal.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        scores = torch.nn.functional.linear(hidden, self.found.packed.causal.get_output_embeddings().weight)
        logps = scores.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[:, :, 0]
        counted = torch.zeros_like(logps)
        for at, (each, number) in enumerate(sequences):
            response, own = each.responses[number], each.masks[number]
            start = len(each.prompt) - 1
            for place in range(len(response)):
                if start + place >= 0 and (own is None or own[place]):
                    counted[at, start + place] = 1.0
        return (logps * counted).double().sum(1)


def counted(pair: Tokens, at: int) -> int:
    """Tokens of a response that count: the first of a sequence without a prompt is predicted by nothing."""
    own = pair.masks[at]
    return len(pair.responses[at]) - (len(pair.prompt) == 0) if own is None else int(own.sum())


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        scale = float(other[name].abs().max())
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=max(2e-5 * scale, 1e-9), msg=name)


@pytest.mark.parametrize("kind", PREFERENCES)
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_pairs_have_the_gradients_of_the_padded_computation(
    kind: str, tuning: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", 40 * 4000)
    run = settings(tiny_model, tuning, Loss(kind=kind, beta=0.3, label_smoothing=0.1, sft_weight=0.2))
    needs = losses.needs_reference(kind)
    pairs = [*PAIRS[:-1], TURNS] if kind != "sampo" else PAIRS
    joined = Joined((ListOf(pairs),), sampled=3 if kind == "sampo" else None)
    samples = [joined.sample(number) for number in range(len(PAIRS))]
    ours = loaded(run)
    layout = pack(samples, untrained=ours.predicts_untrained)
    with attention.over(layout, ours.kernel):
        objective = Preference(run.loss, REFERENCE if needs else None)
        share = objective.share(layout, ours.packed(layout), np.arange(len(PAIRS)))
        share.loss.backward()
    theirs = Padded(run)
    policy = theirs.sums(samples).view(-1, 2)
    whole = theirs.sums(pairs).view(-1, 2)
    lengths = torch.tensor([[counted(p, at) for at in range(2)] for p in pairs]).float()
    reference = torch.from_numpy(REFERENCE)
    pair = PairLogps(
        policy_chosen_B=policy[:, 0], policy_rejected_B=policy[:, 1],
        chosen_tokens_B=lengths[:, 0], rejected_tokens_B=lengths[:, 1],
        reference_chosen_B=reference[:, 0] if needs else None, reference_rejected_B=reference[:, 1] if needs else None,
        policy_chosen_whole_B=whole[:, 0],
    )  # fmt: skip
    wanted = losses.preference_loss(run.loss, pair).losses_B
    wanted.sum().backward()
    torch.testing.assert_close(share.losses_B, wanted.detach().double(), rtol=1e-5, atol=1e-5)
    close(gradients(ours), gradients(theirs.found))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_responses_have_the_gradients_of_the_padded_computation(tuning: str, tiny_model: Path):
    run = settings(tiny_model, tuning, Loss(kind="sft"))
    mask = np.arange(30) % 3 == 0
    samples = [*SFT[:2], dataclasses.replace(SFT[2], masks=(mask,))]
    ours, theirs = loaded(run), Padded(run)
    layout = pack(samples)
    assert Supervised().weight(layout) == 7 + 1 + 10
    with attention.over(layout, ours.kernel):
        share = Supervised().share(layout, ours.packed(layout), np.arange(3))
        share.loss.backward()
    wanted = -theirs.sums(samples).sum()
    wanted.backward()
    torch.testing.assert_close(share.loss, wanted)
    close(gradients(ours), gradients(theirs.found))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attends", ["segments", "separate"])
def test_neither_recomputation_nor_rows_of_their_own_change_a_gradient(
    attends: str, checkpointing: bool, tiny_model: Path
):
    plain = settings(tiny_model, "lora", Loss(kind="simpo"))
    trained = dataclasses.replace(plain.training, gradient_checkpointing=checkpointing)
    other = dataclasses.replace(plain, model=dataclasses.replace(plain.model, attention=attends), training=trained)
    found = []
    for run in (plain, other):
        each = loaded(run)
        layout = pack(PAIRS, share_prompts=each.shares_prompts)
        with attention.over(layout, each.kernel):
            Preference(run.loss, None).share(layout, each.packed(layout), np.arange(len(PAIRS))).loss.backward()
        found.append(gradients(each))
    close(*found)
