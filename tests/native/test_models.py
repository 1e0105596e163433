"""Families of models: packed where that is the same computation, each sequence by itself where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from native_trainings import PAIRS, VOCABULARY
from smtrain_native.runtime import attention, flash_attention, model
from smtrain_native.runtime.layout import pack
from smtrain_native.runtime.settings import Data, Model, Settings, Training, Tuning
from torch._subclasses.fake_tensor import FakeTensorMode

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
MAMBA = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
FALCON = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True}
CONFIGS = {
    "llama": (transformers.LlamaConfig(**SIZES), "segments"),
    "tied": (transformers.LlamaConfig(**SIZES, tie_word_embeddings=True), "segments"),
    "qwen3": (transformers.Qwen3Config(**SIZES), "segments"),
    "window": (transformers.MistralConfig(**SIZES, sliding_window=6), "segments"),
    "divided scores": (transformers.GraniteConfig(**SIZES, logits_scaling=4.0), "segments"),
    "multiplied scores": (transformers.CohereConfig(**SIZES, logit_scale=0.3), "segments"),
    "mixture": (transformers.MixtralConfig(**SIZES, num_local_experts=4), "segments"),
    "learned positions": (transformers.GPT2Config(**GPT2), "segments"),
    "capped scores": (transformers.Gemma2Config(**SIZES, sliding_window=6), "separate"),
    "sinks": (transformers.GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2), "separate"),
    "state": (transformers.MambaConfig(**MAMBA), "separate"),
    "alibi": (transformers.FalconConfig(**FALCON, new_decoder_architecture=False), "separate"),
}


def made(config: transformers.PretrainedConfig, folder: Path) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    # As transformers itself runs it: of Falcon's attention with ALiBi, "eager" and "sdpa" differ.
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def wanted(causal: transformers.PreTrainedModel) -> torch.Tensor:
    """What the model itself says of each response, one after the other."""
    found = []
    for pair in PAIRS:
        for response in pair.responses:
            ids = torch.tensor(np.concatenate((pair.prompt, response)).astype(np.int64))[None]
            logps = causal(ids).logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            found.append(logps[max(len(pair.prompt) - 1, 0) :].sum())
    return torch.stack(found)


def settings(folder: Path, attends: str = "auto") -> Settings:
    return Settings(
        kind="preference",
        model=Model(path=str(folder), attention=attends),
        data=Data(sets=()),
        tuning=Tuning(kind="full"),
        training=Training(precision="fp32"),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_says_what_it_says_itself(name: str, tmp_path: Path):
    config, kernel = CONFIGS[name]
    causal = made(config, tmp_path)
    loaded = model.load(settings(tmp_path), torch.device("cpu"), trained=False)
    assert (loaded.kernel, loaded.shares_prompts) == (kernel, kernel == "segments")
    assert (loaded.why == "there is no such kernel for CPUs") == (kernel == "segments")
    assert loaded.why
    layout = pack(PAIRS, share_prompts=loaded.shares_prompts)
    with torch.no_grad(), attention.over(layout, loaded.kernel):
        found = layout.sums(loaded.packed(layout))
        torch.testing.assert_close(found.float(), wanted(causal), rtol=1e-5, atol=1e-4)


def test_a_kernel_that_a_model_has_not_is_refused(tmp_path: Path):
    made(CONFIGS["state"][0], tmp_path)
    with pytest.raises(model.ModelError, match=r"trainer\.attention=separate"):
        model.load(settings(tmp_path, "segments"), torch.device("cpu"), trained=False)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("name", ["tied", "qwen3", "window", "learned positions"])
def test_a_family_goes_through_the_kernel_of_gpus(
    name: str, tuning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a GPU, types and shapes alone, forward and backward: torch works them out."""
    made(CONFIGS[name][0], tmp_path)
    told = replace(settings(tmp_path), tuning=Tuning(kind=tuning), training=Training(precision="bf16"))
    packed = model.load(told, torch.device("cpu"), trained=True).packed
    given, kernel = [], flash_attention._of_torch
    monkeypatch.setattr(flash_attention, "_of_torch", lambda *call: given.append(call) or kernel(*call))
    layout = pack(PAIRS, share_prompts=True)
    with FakeTensorMode(allow_non_fake_inputs=True), attention.over(layout, "flash"):
        logps = packed(layout)
        layout.sums(logps).sum().backward()
    assert (logps.shape, logps.dtype) == (layout.targets_R.shape, torch.float32)
    assert {tensor.dtype for call in given for tensor in call[:3]} == {torch.bfloat16}
    assert len(given) == SIZES["num_hidden_layers"]
    trained = [each for each in packed.parameters() if each.requires_grad]
    assert trained
    assert all(each.grad is not None and each.grad.dtype == each.dtype for each in trained)


def test_one_kernel_for_a_row_is_refused_where_there_is_none(tmp_path: Path):
    made(CONFIGS["tied"][0], tmp_path)
    with pytest.raises(model.ModelError, match=r"attention=flash: .* no such kernel for CPUs\. Say trainer\."):
        model.load(settings(tmp_path, "flash"), torch.device("cpu"), trained=False)


def test_a_quantised_model_is_refused(tmp_path: Path):
    config = transformers.LlamaConfig(**SIZES)
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    config.save_pretrained(tmp_path)
    with pytest.raises(model.ModelError, match="quantised"):
        model.load(settings(tmp_path), torch.device("cpu"), trained=False)
