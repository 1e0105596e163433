"""The keys that DeepSpeed reads.

DeepSpeed ignores a top-level key that it does not know, so a misspelt `zero_optimization` trains without ZeRO and says
nothing. A test compares these tables with the DeepSpeed of this version.
"""

from __future__ import annotations

from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERSION = "0.19.8"

TOP_LEVEL = _names("""
    activation_checkpointing aio autotuning bf16 bfloat16 checkpoint comet comms_logger communication_data_type compile
    csv_monitor data_efficiency data_types dataloader_drop_last datastates_ckpt disable_allgather disable_python_gc
    dump_state expert_parallel flops_profiler fp16 gradient_accumulation_steps gradient_allreduce_op gradient_clipping
    gradient_predivide_factor hybrid_engine log_level managed_gradient_accumulation memory_breakdown optimizer pipeline
    prescale_gradients scheduler seq_parallel_communication_data_type steps_per_print tensor_parallel tensorboard timers
    torch_autocast train_batch_size train_micro_batch_size_per_gpu use_data_before_expert_parallelism vocabulary_size
    wall_clock_breakdown wandb weight_quantization zero_allow_untested_optimizer zero_force_ds_cpu_optimizer
    zero_optimization
    """)

READ_ELSEWHERE = frozenset({"data_parallel_size", "sequence_parallel_size"})
"""Top-level keys read outside DeepSpeedConfig: by `deepspeed.initialize` for its device mesh."""

REMOVED = _names("""
    amp compression_training curriculum_learning eigenvalue elasticity graph_harvesting nebula progressive_layer_drop
    quantize_training sparse_attention sparse_gradients
    zero_optimization.mics_hierarchical_params_gather zero_optimization.mics_shard_size
    zero_optimization.zeropp_loco_param
    """)
"""Dotted keys that this version refuses since the feature is gone."""

SECTIONS: Mapping[str, frozenset[str]] = {
    "zero_optimization": _names("""
        allgather_bucket_size allgather_partitions allgather_sequential compute_grad_norm contiguous_gradients
        cpu_offload cpu_offload_param cpu_offload_use_pin_memory elastic_checkpoint enable_sanity_checks
        gather_16bit_weights_on_model_save ignore_unused_parameters leaf_module legacy_stage1 load_from_fp32_weights
        log_trace_cache_warnings max_live_parameters max_reuse_distance memory_efficient_linear
        model_persistence_threshold module_granularity_threshold offload_optimizer offload_param overlap_comm
        override_module_apply param_persistence_threshold parameter_alignment pipeline_loading_checkpoint
        prefetch_bucket_size reduce_bucket_size reduce_scatter round_robin_gradients
        save_muon_momentum_buffer_in_memory stage stage3_allgather_sequential stage3_gather_16bit_weights_on_model_save
        stage3_gather_fp16_weights_on_model_save stage3_max_live_parameters stage3_max_reuse_distance
        stage3_model_persistence_threshold stage3_module_granularity_threshold stage3_param_persistence_threshold
        stage3_prefetch_bucket_size stage3_use_all_reduce_for_fetch_params sub_group_size
        use_all_reduce_for_fetch_params use_multi_rank_bucket_allreduce zenflow zero_hpz_partition_size
        zero_quantized_gradients zero_quantized_nontrainable_weights zero_quantized_weights
        """),
    "zero_optimization.offload_optimizer": _names("""
        buffer_count cpuadam_cores_perc device fast_init nvme_path pin_memory pipeline_read pipeline_write ratio
        super_offload
        """),
    "zero_optimization.offload_param": _names("buffer_count buffer_size device max_in_cpu nvme_path pin_memory"),
    "bf16": _names(
        "bf16_master_weights_and_grads bf16_optimizer_states check_grad_overflow enabled immediate_grad_update"
    ),
    "fp16": _names("""
        auto_cast consecutive_hysteresis enabled fp16_master_weights_and_grads hysteresis initial_scale_power loss_scale
        loss_scale_window min_loss_scale
        """),
}
"""Sections that refuse a key they do not know, and the keys they know; dotted paths."""

OPTIMIZERS = _names("adagrad adam adamw lamb lion muadam muadamw musgd muon")
"""DeepSpeed's own optimizers, by lower-case name; any class of torch.optim is accepted besides."""

TORCH_VERSION = "2.13.0"

TORCH_OPTIMIZERS = _names("""
    ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam
    """)
"""The classes of torch.optim in torch of `TORCH_VERSION`, spelled exactly so."""
