"""How large models are."""

import json
from pathlib import Path

import pytest

from smtrain.memory import shapes as model_shapes
from smtrain.memory.shapes import shape_of

MODELS = json.loads(Path(model_shapes.__file__).with_suffix(".json").read_text(encoding="utf-8"))["models"]

TINY = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 101,
}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
        ("meta-llama/Llama-3.3-70B-Instruct", 70_553_706_496),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("mistralai/Mixtral-8x7B-v0.1", 46_702_792_704),
        ("google/gemma-2-9b-it", 9_241_705_984),
        ("microsoft/phi-4", 14_659_507_200),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
    ],
)
def test_a_model_of_the_hub_has_as_many_parameters_as_its_page_says(name, published):
    shape = shape_of({}, name)
    assert shape is not None
    assert shape.parameters == published


def test_every_listed_model_has_as_many_parameters_as_its_config_makes():
    names = [name for model in MODELS for name in model["names"]]
    assert len(names) == len({name.lower() for name in names})
    for model in MODELS:
        shape = shape_of(model["config"], "")
        assert shape is not None
        assert shape.parameters == model["parameters"], model["names"]


def test_the_models_of_the_built_in_configs_are_listed():
    folder = Path(__file__).parents[1] / "conf" / "model"
    paths = [
        line.removeprefix("path: ").strip()
        for file in sorted(folder.glob("*.yaml"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("path: ") and "???" not in line
    ]
    assert paths
    assert [path for path in paths if shape_of({}, path) is None] == []


@pytest.mark.parametrize(
    "reference",
    ["Qwen/Qwen3-8B", "s3://bucket/models/Qwen3-8B/", "/fsx/models/Qwen3-8B", "target:/fsx/qwen3-8b", "Qwen3-8B//"],
)
def test_a_model_is_known_by_the_last_part_of_its_reference(reference):
    shape = shape_of({}, reference)
    assert shape is not None
    assert (shape.layers, shape.hidden, shape.kv_heads, shape.head_dim) == (36, 4096, 8, 128)


@pytest.mark.parametrize("reference", ["", "/", "s3://bucket/", "my-org/my-model", "Qwen3-8B-mine", "Qwen3-8B\n"])
def test_an_unknown_name_has_no_shape(reference):
    assert shape_of({}, reference) is None


def test_a_config_outranks_the_name():
    shape = shape_of({"model_type": "llama", **TINY}, "Qwen/Qwen3-8B")
    assert shape is not None
    assert shape.hidden == 48


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba", **TINY},
        {"model_type": ["llama"], **TINY},
        {**TINY},
        {"model_type": "llama"},
        {"model_type": "llama", **TINY, "hidden_size": "48"},
        {"model_type": "llama", **TINY, "num_hidden_layers": 0},
        {"model_type": "llama", **TINY, "vocab_size": True},
        {"model_type": "qwen3_moe", **TINY, "num_experts": 4, "mlp_only_layers": [0]},
        {"model_type": "qwen3_moe", **TINY, "num_experts": 4, "decoder_sparse_step": 2},
    ],
)
def test_of_what_cannot_be_computed_exactly_nothing_is_said(config):
    assert shape_of(config, "Qwen/Qwen3-8B") is None


def test_a_layer_worked_out_by_hand():
    """hidden 8, 2 heads of 4, 1 head of keys, intermediate 16, vocabulary 10, untied."""
    config = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 10,
        "tie_word_embeddings": False,
    }
    shape = shape_of(config, "")
    assert shape is not None
    # q 8·8, k and v 8·4 each, o 8·8; gate, up, down 8·16 each; two norms of 8.
    assert shape.layer_parameters == 64 + 2 * 32 + 64 + 3 * 128 + 2 * 8
    assert shape.parameters == 2 * shape.layer_parameters + 8 + 2 * 10 * 8
    assert [matrix.name for matrix in shape.matrices] == [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        ("mistral", {}),
        ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("qwen3", {"attention_bias": True, "head_dim": 16}),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
        ("gemma", {}),
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("phi3", {}),
        ("smollm3", {}),
        ("granite", {"attention_bias": True}),
        ("olmo2", {}),
    ],
)
def test_every_family_is_counted_as_transformers_counts_it(kind, more, tied):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    said = {**TINY, **more, "tie_word_embeddings": tied}
    config = transformers.AutoConfig.for_model(kind, **said)
    config.pad_token_id = None
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    shape = shape_of({"model_type": kind, **said}, "")
    assert shape is not None
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    linear = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name
    }
    assert {matrix.name: (matrix.inputs, matrix.outputs) for matrix in shape.matrices} == linear
