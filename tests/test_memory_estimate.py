"""The memory of each GPU: worked out by hand, and counted on real models."""

import dataclasses

import pytest

from smtrain.memory.estimate import GIB, LOGITS_BYTES, Estimate, estimate, trained_parameters
from smtrain.memory.shapes import ModelShape, shape_of
from smtrain.spec import Footprint

FULL = Footprint(
    tuning="full",
    weight_bytes=2,
    optimizer="adamw_torch",
    sequence_length=2048,
    micro_batch_size=1,
    gradient_checkpointing=True,
)
LORA = dataclasses.replace(FULL, tuning="lora", lora_rank=8)
QLORA = dataclasses.replace(LORA, tuning="qlora", weight_bytes=0.52)


def known(name: str) -> ModelShape:
    shape = shape_of({}, name)
    assert shape is not None
    return shape


def llama_of(parameters: int) -> ModelShape:
    """Returns Llama-2-7B's shape with a round number of parameters, for arithmetic in the head."""
    return dataclasses.replace(known("Llama-2-7b-hf"), parameters=parameters)


SEVEN = llama_of(7_000_000_000)
LLAMA3 = known("Meta-Llama-3-8B")


def on(shape: ModelShape, footprint: Footprint, strategy: str, world: int = 1, gib: float = 80) -> Estimate:
    return estimate(shape, footprint, strategy=strategy, world_size=world, gpu_memory_gib=gib)


def states(it: Estimate) -> float:
    """Returns bytes of weights, gradients and optimizer."""
    return (it.weights + it.gradients + it.optimizer) * GIB


# -------------------------------------------------------------------------------------------- weights to optimizer


@pytest.mark.parametrize(
    ("strategy", "world", "weights", "gradients", "optimizer"),
    [
        # ZeRO's figure 1, K = 12: 2 + 2 + 12 bytes a weight, ever more of them shared out.
        ("zero1", 8, 2, 2, 12 / 8),
        ("zero2", 8, 2, 2 / 8, 12 / 8),
        ("zero3", 8, 2 / 8, 2 / 8, 12 / 8),
        ("zero3", 64, 2 / 64, 2 / 64, 12 / 64),
        ("zero2_offload", 8, 2, 0, 0),
        ("zero3_offload", 8, 0, 0, 0),
        # Autocast over fp32 weights: 4 + 2 for its copy, 4, 8; DDP's buckets hold the gradients again.
        ("single", 1, 6, 4, 8),
        ("ddp", 8, 6, 8, 8),
        ("fsdp", 8, 4 / 8, 4 / 8, 8 / 8),
    ],
)
def test_full_tuning_with_adamw_takes_the_bytes_that_zero_says(strategy, world, weights, gradients, optimizer):
    it = on(SEVEN, FULL, strategy, world)
    assert it.weights * GIB == pytest.approx(7e9 * weights)
    assert it.gradients * GIB == pytest.approx(7e9 * gradients)
    assert it.optimizer * GIB == pytest.approx(7e9 * optimizer)


def test_seven_billion_weights_take_112_gb_and_an_eighth_of_it_on_eight_gpus():
    assert states(on(SEVEN, FULL, "zero1", 1)) == pytest.approx(112e9)
    assert states(on(SEVEN, FULL, "zero3", 8)) == pytest.approx(14e9)


@pytest.mark.parametrize(
    ("optimizer", "each"),
    [
        ("adamw_torch_fused", 8),
        ("adamw_8bit", 2),
        ("adamw_bnb_8bit", 2),
        ("paged_adamw_32bit", 8),
        ("lion_8bit", 1),
        ("sgd", 0),
        ("adafactor", 0),
        ("something new", 8),
    ],
)
def test_an_optimizer_has_its_states(optimizer, each):
    footprint = dataclasses.replace(FULL, optimizer=optimizer)
    assert on(SEVEN, footprint, "single").optimizer * GIB == pytest.approx(7e9 * each)
    # And DeepSpeed an fp32 copy of the weights besides.
    assert on(SEVEN, footprint, "zero1").optimizer * GIB == pytest.approx(7e9 * (each + 4))


def test_training_in_bf16_alone_takes_eight_bytes_a_weight():
    footprint = dataclasses.replace(FULL, mixed_precision=False)
    assert states(on(SEVEN, footprint, "single")) == pytest.approx(7e9 * (2 + 2 + 4))


def test_training_in_fp32_alone_takes_sixteen():
    footprint = dataclasses.replace(FULL, mixed_precision=False, weight_bytes=4)
    assert states(on(SEVEN, footprint, "single")) == pytest.approx(7e9 * (4 + 4 + 8))


# ------------------------------------------------------------------------------------------------------------ adapters


def test_an_adapter_of_every_layer_of_llama_3_has_the_weights_that_peft_counts():
    """20,971,520: rank 8 beside all linear layers, r·(inputs + outputs) each."""
    by_hand = 8 * 32 * ((4096 + 4096) * 2 + (4096 + 1024) * 2 + (4096 + 14336) * 3)
    assert by_hand == 20_971_520
    assert trained_parameters(LLAMA3, LORA) == by_hand


def test_an_adapter_of_some_targets_counts_those():
    """peft's print_trainable_parameters for q_proj and v_proj of Llama-2-7B at rank 8: 4,194,304."""
    footprint = dataclasses.replace(LORA, lora_targets=("q_proj", "v_proj"))
    assert trained_parameters(known("Llama-2-7b-hf"), footprint) == 4_194_304


def test_an_adapter_beside_embedding_and_output_matrix_counts_too():
    footprint = dataclasses.replace(LORA, lora_targets=("embed_tokens", "lm_head"))
    assert trained_parameters(LLAMA3, footprint) == 2 * 8 * (4096 + 128256)


def test_experts_get_no_adapter():
    mixtral = known("Mixtral-8x7B-v0.1")
    assert trained_parameters(mixtral, LORA) == 8 * 32 * ((4096 + 4096) * 2 + (4096 + 1024) * 2)


def test_the_base_of_an_adapter_is_held_once_in_16_bits_and_not_trained():
    it = on(LLAMA3, LORA, "single")
    assert it.trained == 20_971_520
    assert it.weights * GIB == pytest.approx(2 * 8_030_261_248 + 6 * 20_971_520)
    assert (it.gradients + it.optimizer) * GIB == pytest.approx(12 * 20_971_520)


def test_four_bits_are_for_the_linear_layers_alone():
    """Embedding and output matrix, 2 × 128256 × 4096 of them, and the norms stay in 16 bits."""
    linear = 32 * (4096 * (4096 * 2 + 1024 * 2) + 3 * 4096 * 14336)
    rest = 8_030_261_248 - linear
    it = on(LLAMA3, QLORA, "single")
    assert it.weights * GIB == pytest.approx(0.52 * linear + 2 * rest + 6 * 20_971_520)
    # 5.7 GB is what the model takes in practice.
    assert 5.4 < it.weights < 5.6


def test_freezing_trains_the_last_layers_and_keeps_only_their_activations():
    footprint = dataclasses.replace(FULL, tuning="freeze", trainable_layers=2)
    it = on(LLAMA3, footprint, "zero2")
    assert it.trained == 2 * 218_112_000
    assert it.weights * GIB == pytest.approx(2 * 8_030_261_248)
    assert it.gradients * GIB == pytest.approx(2 * it.trained)
    full = dataclasses.replace(FULL, gradient_checkpointing=False)
    frozen = dataclasses.replace(footprint, gradient_checkpointing=False)
    kept = on(LLAMA3, frozen, "zero2").activations / on(LLAMA3, full, "zero2").activations
    assert kept == pytest.approx(2 / 32)


def test_a_reference_model_is_held_besides():
    pairs = dataclasses.replace(FULL, reference_model=True)
    more = on(SEVEN, pairs, "zero2", 8).weights - on(SEVEN, FULL, "zero2", 8).weights
    assert more * GIB == pytest.approx(14e9)
    more = on(SEVEN, pairs, "zero3", 8).weights - on(SEVEN, FULL, "zero3", 8).weights
    assert more * GIB == pytest.approx(14e9 / 8)


# -------------------------------------------------------------------------------------------------------- activations


def test_one_layer_of_llama_3_keeps_200_704_bytes_of_a_token():
    """16·4096 around the norms + 2·(2·4096 + 2·1024) in attention + 8·14336 in the feed-forward network."""
    assert 16 * 4096 + 2 * (2 * 4096 + 2 * 1024) + 8 * 14336 == 200_704
    footprint = dataclasses.replace(FULL, gradient_checkpointing=False)
    it = on(LLAMA3, footprint, "zero3", 8)
    assert it.activations * GIB == pytest.approx(32 * 2048 * 200_704)


def test_checkpointing_keeps_the_layers_inputs_and_one_layer():
    it = on(LLAMA3, FULL, "zero3", 8)
    assert it.activations * GIB == pytest.approx(2048 * (32 * 2 * 4096 + 200_704))


def test_attention_with_scores_grows_with_the_square_of_the_sequence():
    eager = dataclasses.replace(FULL, flash_attention=False)
    more = on(LLAMA3, eager, "zero3", 8).activations - on(LLAMA3, FULL, "zero3", 8).activations
    repeated = 2 * 2 * (4096 - 1024)
    assert more * GIB == pytest.approx(6 * 32 * 2048**2 + 2048 * repeated)


def test_pairs_and_larger_batches_cost_activations_and_logits_in_proportion():
    one = on(LLAMA3, FULL, "zero3", 8)
    pairs = on(LLAMA3, dataclasses.replace(FULL, sequences_per_sample=2, micro_batch_size=3), "zero3", 8)
    assert pairs.activations == pytest.approx(6 * one.activations)
    assert pairs.logits == pytest.approx(6 * one.logits)
    assert states(pairs) == states(one)


def test_two_experts_work_for_a_token_of_mixtral():
    dense = on(known("Mistral-7B-v0.1"), FULL, "zero3", 8).activations
    experts = on(known("Mixtral-8x7B-v0.1"), FULL, "zero3", 8).activations
    assert (experts - dense) * GIB == pytest.approx(2048 * 8 * 14336)


# ------------------------------------------------------------------------------------------------------------- reserve


def test_several_processes_and_weights_gathered_for_a_moment_are_reserved_for():
    alone = on(LLAMA3, FULL, "single").reserve
    several = on(LLAMA3, FULL, "ddp", 8).reserve
    assert 0.5 <= alone < several < 1.5
    # DeepSpeed keeps up to a billion weights whole; a smaller model all of its own.
    assert (on(LLAMA3, FULL, "zero3", 8).reserve - several) * GIB == pytest.approx(2 * 1e9)
    small = known("SmolLM2-135M")
    assert (on(small, FULL, "zero3", 8).reserve - several) * GIB == pytest.approx(2 * 134_515_008)
    # FSDP keeps its root, embedding and output matrix, and two layers.
    whole = 2 * 128256 * 4096 + 2 * 218_112_000
    assert (on(LLAMA3, FULL, "fsdp", 8).reserve - several) * GIB == pytest.approx(2 * whole)


# ------------------------------------------------------------------------------------------------ total and verdict


@pytest.mark.parametrize(
    ("model", "footprint", "place", "verdict"),
    [
        # One A10G and eight of them, A100 of 40 GB, of 80 GB.
        ("Qwen2.5-0.5B", FULL, ("single", 1, 22.35), "fits"),
        ("Meta-Llama-3-8B", FULL, ("zero3", 8, 22.35), "tight"),
        ("Meta-Llama-3-8B", FULL, ("zero3", 8, 40), "fits"),
        ("Meta-Llama-3-8B", FULL, ("ddp", 8, 80), "does not fit"),
        ("Meta-Llama-3-8B", FULL, ("zero2", 8, 35), "tight"),
        ("Meta-Llama-3-8B", LORA, ("single", 1, 22.35), "tight"),
        ("Meta-Llama-3-8B", QLORA, ("single", 1, 22.35), "fits"),
        ("Meta-Llama-3-8B", LORA, ("ddp", 4, 14.75), "does not fit"),
        ("Meta-Llama-3-70B", FULL, ("zero3", 8, 80), "does not fit"),
        ("Meta-Llama-3-70B", FULL, ("zero3", 32, 80), "fits"),
        ("Meta-Llama-3-70B", QLORA, ("single", 1, 80), "fits"),
        ("Meta-Llama-3-70B", LORA, ("zero3", 8, 40), "fits"),
    ],
)
def test_what_is_known_to_fit_fits(model, footprint, place, verdict):
    strategy, world, gib = place
    it = on(known(model), footprint, strategy, world, gib)
    assert it.verdict == verdict, it.explain


def test_the_verdict_changes_at_85_and_at_100_percent():
    total = on(SEVEN, QLORA, "single").total
    assert on(SEVEN, QLORA, "single", gib=total / 0.849).verdict == "fits"
    assert on(SEVEN, QLORA, "single", gib=total / 0.851).verdict == "tight"
    assert on(SEVEN, QLORA, "single", gib=total / 0.999).verdict == "tight"
    assert on(SEVEN, QLORA, "single", gib=total / 1.001).verdict == "does not fit"


def test_every_part_is_explained_with_its_size_and_no_part_is_left_out():
    it = on(LLAMA3, FULL, "zero3", 8)
    parts = ("weights", "gradients", "optimizer", "activations", "logits", "reserve")
    assert [line.split()[0] for line in it.explain] == list(parts)
    for name, line in zip(parts, it.explain, strict=True):
        assert line.startswith(f"{name} {getattr(it, name):.2f} GiB: ")
    assert it.total == pytest.approx(sum(getattr(it, name) for name in parts))
    assert "/ 8 GPUs" in it.explain[0]


# ------------------------------------------------------------------------------------------------ counted on models

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 896,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}
TOKENS = 128


def model_of(layers: int, *, attention: str = "sdpa"):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        **SMALL, num_hidden_layers=layers, attn_implementation=attention, use_cache=False, tie_word_embeddings=False
    )
    return transformers.LlamaForCausalLM(config).train()


def kept(layers: int, *, tuning: str, autocast: bool, attention: str, checkpointing: bool) -> int:
    """Returns the bytes of the tensors that a forward pass keeps, the parameters' own left out."""
    torch = pytest.importorskip("torch")
    model = model_of(layers, attention=attention)
    model.to(torch.float32 if autocast and tuning == "full" else torch.bfloat16)
    if tuning == "lora":
        peft = pytest.importorskip("peft")
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=targets))
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if tuning == "lora" or checkpointing:
        model.enable_input_require_grads()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found = {}
    alive = []  # so that no address is used twice

    def count(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    ids = torch.zeros(1, TOKENS, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        model(input_ids=ids, labels=ids)
    return sum(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("tuning", "autocast", "checkpointing"),
    [
        ("full", True, False),
        ("full", True, True),
        ("full", False, False),
        ("full", False, True),
        # DeepSpeed casts adapters to 16 bits; without it they are trained in fp32, under autocast.
        ("lora", True, False),
    ],
)
def test_a_layer_keeps_what_the_formulas_say(tuning, autocast, checkpointing, attention):
    said = {"tuning": tuning, "autocast": autocast, "attention": attention, "checkpointing": checkpointing}
    counted = (kept(4, **said) - kept(2, **said)) / 2
    footprint = dataclasses.replace(
        LORA if tuning == "lora" else FULL,
        sequence_length=TOKENS,
        gradient_checkpointing=checkpointing,
        flash_attention=attention == "sdpa",
    )
    strategy = "single" if autocast else "zero3"
    sizes = []
    for layers in (2, 4):
        shape = shape_of({"model_type": "llama", **SMALL, "num_hidden_layers": layers}, "")
        assert shape is not None
        sizes.append(on(shape, footprint, strategy).activations * GIB)
    expected = (sizes[1] - sizes[0]) / 2
    if autocast and not checkpointing:
        # Autocast's copies of the trained weights, which the estimate has among the weights.
        shape = shape_of({"model_type": "llama", **SMALL, "num_hidden_layers": 1}, "")
        assert shape is not None
        expected += 2 * (trained_parameters(shape, footprint) if tuning == "lora" else shape.layer_parameters)
    assert counted == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
def test_the_peak_of_the_loss_takes_as_many_bytes_as_the_estimate_has_for_it():
    """Counted at two vocabularies, so that only what grows with the vocabulary is left."""
    torch = pytest.importorskip("torch")
    tracker = pytest.importorskip("torch.distributed._tools.mem_tracker")
    transformers = pytest.importorskip("transformers")
    tokens = 256

    def peak(vocabulary: int) -> int:
        said = {**SMALL, "vocab_size": vocabulary, "hidden_size": 16, "num_hidden_layers": 1}
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**said)).to(torch.bfloat16)
        ids = torch.zeros(1, tokens, dtype=torch.long)
        memory = tracker.MemTracker()
        memory.track_external(model)
        with memory:
            model(input_ids=ids, labels=ids).loss.backward()
        (snapshot,) = memory.get_tracker_snapshot("peak").values()
        return snapshot["Total"] - sum(size for kind, size in snapshot.items() if "PARAM" in str(kind))

    grown = (peak(40_000) - peak(20_000)) / 20_000 / tokens
    assert grown == pytest.approx(LOGITS_BYTES, rel=0.03)
