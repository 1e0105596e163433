"""Lean layers: the values and gradients of what they replace, with less kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from native_trainings import PAIRS, VOCABULARY
from smtrain_native.runtime import attention, lean, model
from smtrain_native.runtime.layout import pack
from smtrain_native.runtime.lean import linear as linears
from smtrain_native.runtime.lean.gated import Activation, gated
from smtrain_native.runtime.lean.last_layer import Read
from smtrain_native.runtime.lean.rms_norm import rms_norm
from smtrain_native.runtime.lean.rotary import rotary
from smtrain_native.runtime.settings import Data, Model, Settings, Training, Tuning
from torch import nn
from torch.nn import functional

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 3, "head_dim": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS = {
    "llama": transformers.LlamaConfig(**SIZES),
    "biases": transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "norms of heads": transformers.Qwen3Config(**SIZES),
    "1 + weight": transformers.GemmaConfig(**SIZES),
    "gate and up in one": transformers.Phi3Config(**SIZES),
    "interleaved rotation": transformers.CohereConfig(**SIZES),
}

Function = Callable[..., torch.Tensor]


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_()


def same(ones: list[torch.Tensor], others: list[torch.Tensor]) -> None:
    """In 16 bits every step rounds, and the steps are others."""
    for one, other in zip(ones, others, strict=True):
        slack = {"rtol": 0.02, "atol": 0.05} if torch.bfloat16 in (one.dtype, ones[-1].dtype) else {}
        torch.testing.assert_close(one, other, **slack)


def with_gradients(function: Function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The function's value, and the gradient of each input."""
    own = [each.detach().clone().requires_grad_() for each in inputs]
    out = function(*own)
    (out.float() * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
    return [out.detach(), *(each.grad for each in own if each.grad is not None)]


def norm_written_out(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    unit = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
    return weight * unit.to(x.dtype)


def gemma_norm_written_out(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    unit = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
    return (unit * (1 + weight.float())).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [False, True])
def test_a_norm_is_the_norm(offset: bool, dtype: torch.dtype):
    inputs = numbers(2, 5, 16, dtype=dtype), numbers(16, seed=1, dtype=dtype)
    found = with_gradients(lambda x, weight: rms_norm(x, weight, 1e-5, offset=offset), *inputs)
    wanted = with_gradients(gemma_norm_written_out if offset else norm_written_out, *inputs)
    assert len(found) == 3
    same(found, wanted)


@pytest.mark.parametrize(
    ("activation", "bend"),
    [
        (Activation.SILU, functional.silu),
        (Activation.GELU, functional.gelu),
        (Activation.GELU_TANH, lambda gate: functional.gelu(gate, approximate="tanh")),
    ],
)
def test_a_gated_product_is_the_product(activation: Activation, bend: Function):
    inputs = numbers(2, 5, 16), numbers(2, 5, 16, seed=1)
    found = with_gradients(lambda gate, up: gated(gate, up, activation), *inputs)
    same(found, with_gradients(lambda gate, up: bend(gate) * up, *inputs))


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
def test_a_rotation_is_that_of_llama(dtypes: tuple[torch.dtype, torch.dtype]):
    llama = transformers.models.llama.modeling_llama
    x, cos, sin = numbers(1, 2, 5, 8, dtype=dtypes[0]), *(numbers(1, 5, 8, seed=n, dtype=dtypes[1]) for n in (1, 2))
    cos, sin = cos.detach()[:, None], sin.detach()[:, None]
    found = with_gradients(lambda each: rotary(each, cos, sin), x)
    same(found, with_gradients(lambda each: each * cos + llama.rotate_half(each) * sin, x))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_torchs(autocast: bool, bias: bool):
    inputs = [numbers(2, 5, 16), numbers(12, 16, seed=1), *([numbers(12, seed=2)] if bias else [])]

    def within(function: Function) -> list[torch.Tensor]:
        def called(x: torch.Tensor, weight: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                return function(x, weight, more)

        return with_gradients(called, *inputs)

    same(within(linears.linear), within(functional.linear))


def test_a_linear_layer_says_what_torch_says_of_types_that_differ():
    with pytest.raises(RuntimeError, match="dtype"):
        linears.linear(numbers(2, 16), numbers(12, 16, dtype=torch.bfloat16), None)


@pytest.mark.parametrize("has", [True, False])
def test_a_product_is_the_product_with_and_without_onednn(has: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linears, "_has_onednn", lambda: has)
    monkeypatch.setattr(linears, "_WORTH", 1)
    with torch.no_grad():
        x, weight, bias = numbers(7, 16), numbers(16, 12, seed=1).t(), numbers(12, seed=2)
        torch.testing.assert_close(lean.product(x, weight, bias), x @ weight.t() + bias)
        assert lean.product(x[:0], weight).shape == (0, 12)


def test_a_kernel_is_made_where_it_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(linears, "_has_onednn", lambda: asked.append(True))
    x, weight = torch.zeros(1000, 100), torch.zeros(100, 100)
    lean.product(x, weight, alike=99)
    assert not asked
    lean.product(x, weight, alike=100)
    assert asked
    first, *_, last = loaded("llama", tmp_path).packed.causal.get_decoder().layers
    counts = [
        (each.self_attn.q_proj.alike, each.self_attn.k_proj.alike, each.mlp.up_proj.alike) for each in (first, last)
    ]
    assert counts == [(6, 6, 6), (2, 6, 2)]  # queries and outputs, keys and values, gates and ups, of 3 layers


def loaded(name: str, folder: Path, **training: bool) -> model.Loaded:
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(CONFIGS[name])
    for parameter in made.parameters():  # biases begin as zeros, norms as ones
        nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(folder)
    run = Settings(
        kind="preference",
        model=Model(path=str(folder)),
        data=Data(sets=()),
        tuning=Tuning(kind="full"),
        training=Training(precision="fp32", **training),
    )
    return model.load(run, torch.device("cpu"), trained=True)


def logps_gradients_kept(found: model.Loaded) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """The log-probabilities, the gradients, and the bytes that layers kept."""
    layout, kept = pack(PAIRS, share_prompts=True), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in found.packed.parameters()}
    with attention.over(layout, found.kernel):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logps = found.packed(layout)
        (logps * torch.arange(len(logps)).sin()).sum().backward()
    gradients = {name: each.grad for name, each in found.packed.named_parameters() if each.grad is not None}
    return logps.detach(), gradients, sum(size for place, size in kept.items() if place not in own)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_keeps_less_and_learns_the_same(
    name: str, checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ours = logps_gradients_kept(loaded(name, tmp_path, gradient_checkpointing=checkpointing))
    monkeypatch.setattr(lean, "install", lambda _: None)
    monkeypatch.setattr(lean, "narrow", lambda _: Read())
    plain = logps_gradients_kept(loaded(name, tmp_path, gradient_checkpointing=checkpointing))
    torch.testing.assert_close(ours[0], plain[0])
    assert ours[1].keys() == plain[1].keys()
    for parameter, gradient in ours[1].items():
        torch.testing.assert_close(gradient, plain[1][parameter], rtol=1e-4, atol=1e-5)
    if not checkpointing:
        assert ours[2] < (0.8 if name == "interleaved rotation" else 0.75) * plain[2]  # its norms are other ones


def test_the_last_layer_computes_what_is_read(tmp_path: Path):
    found, layout = loaded("llama", tmp_path).packed, pack(PAIRS, share_prompts=True)
    first, *_, last = found.causal.get_decoder().layers
    inputs, queries = {}, []
    for name, layer in (("first", first), ("last", last)):
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0].shape[1]}))
    last.self_attn.q_proj.register_forward_hook(lambda *called: queries.append(called[2][0].detach()))
    with attention.over(layout, "segments"):
        found(layout)
    computed = queries[0].ne(0).any(dim=1)
    assert computed[layout.sources_R].all()
    assert inputs == {"first": layout.tokens, "last": int(computed.sum())}
    strays = 2 * len(PAIRS)
    assert len(layout.sources_R.unique()) <= inputs["last"] <= len(layout.sources_R.unique()) + strays < layout.tokens


class Routed(nn.Module):
    """A layer whose MLP says more than its result."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return x * 2, x.shape[1]


@pytest.mark.parametrize("sizes", [(), (2, 2, 1), (0, 3, 1)])
def test_a_layer_that_cannot_be_narrowed_computes_the_whole_row(sizes: tuple[int, ...]):
    """Its MLP returns something else than one tensor, or the sizes are of another row."""
    decoder, x = nn.Module(), numbers(1, 5, 3)
    layer = nn.Module()
    layer.mlp = Routed()
    decoder.layers = nn.ModuleList([layer])
    lean.narrow(decoder).sizes = sizes
    found, rows = layer.mlp(x)
    assert rows == 5
    torch.testing.assert_close(found, x * 2)


def test_the_adapter_of_a_frozen_layer_reads_what_is_made_again():
    """Its input is kept for the adapter's gradient alone."""
    x = rms_norm(numbers(3, 16), numbers(16, seed=1).detach(), 1e-5)
    frozen, adapter = linears.LeanLinear(16, 12).requires_grad_(requires_grad=False), linears.LeanLinear(16, 4)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        frozen(x)
        assert kept == [(12, 16)]  # the weight, for the gradient of what lies below
        adapter(x)
    assert kept[1:] == [(4, 16), (3, 16), (3, 1), (16,)]


class HalfRMSNorm(nn.Module):
    """Called as others are, and not what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return norm_written_out(x, self.weight) / 2


class Residual(nn.Module):
    """Has the parts of a gated MLP, and adds its input."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Dropping(Residual):
    """Drops, in training, what it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(x, 0.5, training=self.training)
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


@pytest.mark.parametrize("kind", [HalfRMSNorm, Residual, Dropping])
def test_a_layer_that_computes_something_else_is_left_alone(kind: type[nn.Module]):
    torch.manual_seed(0)
    module = kind()
    lean.install(module)
    assert type(module) is kind


def test_looking_at_a_model_draws_no_random_numbers():
    before = torch.get_rng_state()
    module = Dropping()
    torch.set_rng_state(before)
    lean.install(module)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interleaved_rotation_is_left_alone(tmp_path: Path):
    loaded("interleaved rotation", tmp_path)
    assert not hasattr(transformers.models.cohere.modeling_cohere.apply_rotary_pos_emb, "smtrain_original")
    loaded("llama", tmp_path)
    assert hasattr(transformers.models.llama.modeling_llama.apply_rotary_pos_emb, "smtrain_original")


def test_a_rotation_of_another_shape_is_the_models_own(tmp_path: Path):
    loaded("llama", tmp_path)
    rotate = transformers.models.llama.modeling_llama.apply_rotary_pos_emb
    q, k, cos, sin = numbers(1, 5, 2, 8), numbers(1, 5, 2, 8), numbers(1, 5, 8), numbers(1, 5, 8)
    for more in ({"unsqueeze_dim": 2}, {}):
        inputs = (q, k) if more else (q.transpose(1, 2), k.transpose(1, 2))
        for one, other in zip(
            rotate(*inputs, cos, sin, **more), rotate.smtrain_original(*inputs, cos, sin, **more), strict=True
        ):
            torch.testing.assert_close(one, other)


GROWTH = """
import torch
from smtrain_native.runtime.lean.linear import product

def resident():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024

x, weight = torch.randn(1000, 256), torch.randn(688, 256)
product(x, weight, alike=100)
before = resident()
for rows in range(700, 1000):
    product(x[:rows], weight, alike=100)
print(resident() - before)
"""


def growth(**env: str) -> int:
    """Returns the MiB that a process grows by in products of 300 shapes."""
    done = subprocess.run(
        (sys.executable, "-c", GROWTH),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_the_kernels_of_shapes_that_do_not_come_again_are_not_kept() -> None:
    kept = dict.fromkeys(linears._CACHES, "1024")
    assert growth() * 2 < growth(**kept)
