"""A small model, tokenizers for it, and pairs of long-tailed lengths: what the benchmark runs on by itself."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 4000
MEAN, TENTH, LONGEST = 212, 405, 1269
"""Tokens of a sequence: on average, of one in ten at least, of all at most."""
PROMPT_SHARES = (0.1, 0.6)
"""How much of a sequence is prompt."""
_AROUND = 4  # tokens that are no words: a newline, an end, and what rounding adds
_END, _PAD, _START = "</s>", "<pad>", "<s>"
_TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def small_model(folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Writes a Llama of hidden size 256 and 6 layers with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=8192, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer whose tokens are words."""
    words = [_PAD, _END, *(f"w{number}" for number in range(2, VOCABULARY))]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=_PAD))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token=_PAD, pad_token=_PAD, eos_token=_END)


def text_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Returns a byte-level tokenizer that was trained on some texts, with a chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[_PAD, _END, _START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=_PAD, eos_token=_END, bos_token=_START)
    made.chat_template = _TEMPLATE
    return made


def words_of(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Returns words that are one token each behind a space."""
    plain = sorted({token.lstrip("Ġ▁") for token in tokenizer.get_vocab()})
    words = [word for word in plain if word.isascii() and word.isalnum()]
    ids = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return [word for word, each in zip(words, ids, strict=True) if len(each) == 1]


def pairs(count: int, words: Sequence[str], seed: int, max_length: int) -> Iterator[dict[str, str]]:
    """Yields rows of prompt, chosen and rejected: random words, log-normal lengths, none above `max_length` tokens."""
    rng = random.Random(seed)
    # Of a log-normal: mean = exp(μ + σ²/2), 90th percentile = exp(μ + z σ).
    z = 1.2815515594
    sigma = z - math.sqrt(z * z - 2 * math.log(TENTH / MEAN))
    mu = math.log(MEAN) - sigma * sigma / 2
    longest = min(LONGEST, max_length - _AROUND)

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=max(length, 1)))

    for number in range(count):
        length = min(rng.lognormvariate(mu, sigma), longest)
        prompt = max(1, round(length * rng.uniform(*PROMPT_SHARES)))
        other = min((length - prompt) * rng.lognormvariate(0, 0.25), longest - prompt)
        responses = {"chosen": text(round(length - prompt)), "rejected": text(round(other))}
        yield {
            "prompt_id": str(number),
            "prompt": f" {text(prompt)}\n",
            **{key: f" {each}" for key, each in responses.items()},
        }
