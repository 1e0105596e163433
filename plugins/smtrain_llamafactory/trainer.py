"""The trainers of LLaMA-Factory's stages: a job becomes `train.yaml`, its data directory and a launch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from smtrain.plugin import (
    Demands,
    EnvVar,
    Input,
    Job,
    Json,
    Output,
    OutputKind,
    Problem,
    Program,
    Resume,
    Run,
    RuntimeVar,
    Saves,
    Scope,
    Step,
    TextFile,
    distributed,
    warning,
)
from smtrain_llamafactory import (
    arguments,
    dataset_info,
    derived,
    document,
    footprint,
    later_steps,
    metrics,
    places,
    requirements,
    rules,
    saves,
    shortening,
    stages,
    v1_engine,
)
from smtrain_llamafactory.later_steps import LaterStep
from smtrain_llamafactory.options import Arguments, LlamaFactoryOptions
from smtrain_llamafactory.owned import contradictions
from smtrain_llamafactory.stages import Stage

TRAIN_FILE = "train.yaml"
EPOCHS = 3.0
"""transformers' default of num_train_epochs."""

_TRAINING = ("-m", "llamafactory.launcher")
_COMMANDS = (RuntimeVar.PYTHON, "-m", "llamafactory.cli")
_MCORE_SWITCH = EnvVar(name="USE_MCA", value="1")
_ACTIONS = ("do_train", "do_eval", "do_predict")
_PPO_ALL_THE_SAME = "If the target's LLaMA-Factory was patched to run PPO: trainer.ppo_capable_environment=true."
_PRECISIONS = {"bf16": "bf16", "pure_bf16": "bf16", "fp16": "fp16"}


class StageTrainer:
    """Trains with one stage of LLaMA-Factory."""

    stage: Stage

    def demands(self, run: Run, options: LlamaFactoryOptions) -> Demands:
        """Returns what resolving the run must know of LLaMA-Factory's arguments."""
        args, prefix = options.args, "trainer.args"
        packing = args.get("packing")
        return Demands(
            rows=None if options.engine == "v1" else self.stage.rows,
            micro_batch_size=_int(args, "per_device_train_batch_size"),
            micro_batch_key=f"{prefix}.per_device_train_batch_size",
            gradient_accumulation_steps=_int(args, "gradient_accumulation_steps"),
            gradient_accumulation_key=f"{prefix}.gradient_accumulation_steps",
            epochs=_number(args, "num_train_epochs", EPOCHS),
            max_steps=steps if (steps := _int(args, "max_steps")) and steps > 0 else None,
            eval_fraction=_number(args, "val_size", 0.0),
            max_samples=_int(args, "max_samples"),
            packing=self.stage.packs if packing is None else packing is True or args.get("neat_packing") is True,
        )

    def check(self, job: Job, options: LlamaFactoryOptions) -> Iterator[Problem]:
        """Yields every reason why LLaMA-Factory could not run this job."""
        if options.engine != "hf":
            what = f"Engine `{options.engine}` is experimental; its arguments are passed on unchecked."
            yield warning("trainer.engine", what)
        if options.engine == "v1":
            yield from v1_engine.check(self.stage.name, options.args)
            return
        if options.version not in arguments.KNOWN_VERSIONS:
            known = ", ".join(arguments.KNOWN_VERSIONS)
            what = f"The arguments of LLaMA-Factory {options.version} are not known."
            yield Problem(key="trainer.version", what=what, fix=f"Choose one of: {known}.")
            return
        if options.engine == "hf":
            yield from arguments.check(options.args, options.version)  # type: ignore[arg-type]  # composed from YAML
        meanings = derived.training_arguments(job, self.stage.name, options.args)
        yield from contradictions(options.args, meanings)
        trained = self._arguments(job, options)
        if options.engine == "hf":
            yield from derived.check_model(job, options.version)
            found = rules.check(_facts(job, self.stage, trained, options.version))
            # Without any data set, whoever looked for them has said why.
            yield from (problem for problem in found if job.datasets or problem.key != "trainer.args.do_train")
        yield from document.check(trained, _keys(options.args))
        yield from dataset_info.check(job)
        yield from places.check(options.args)
        yield from _places(job, trained, options)
        yield from _media(job, trained)
        yield from _not_resumable(job)
        if self.stage is stages.PPO and not options.ppo_capable_environment:
            refusal = rules.ppo_refusal(options.version)
            yield replace(refusal, fix=f"{refusal.fix}\n{_PPO_ALL_THE_SAME}")
        yield from later_steps.check(job, self.stage, options, trained)

    def lower(self, job: Job, options: LlamaFactoryOptions) -> Program:
        """Returns the program: the training, then the steps that follow it."""
        if options.engine == "v1":
            return v1_engine.train(job, self.stage.name, options.version, options.args)
        trained = self._arguments(job, options)
        later = later_steps.steps(job, self.stage, options, trained)
        train = Step(
            name="train",
            argv=distributed.launch_command(job, (*_TRAINING, TRAIN_FILE, Resume("resume_from_checkpoint="))),
            scope=Scope.EVERY_NODE,
            distributed=True,
        )
        needed = {**trained, **{name: value for step in later for name, value in step.args.items()}}
        return Program(
            steps=(train, *(_step(job, step) for step in later)),
            files=(
                document.render(TRAIN_FILE, trained),
                *dataset_info.files(job, places.data_dir(job, options.args)),
                *_strategy_files(job, trained),
                *(document.render(step.path, step.args) for step in later),
            ),
            env=(_MCORE_SWITCH,) if options.engine == "mcore" else (),
            inputs=_inputs(job, options.args),
            outputs=(*_outputs(trained), *map(_output, later)),
            needs=requirements.needs(job, options.version, needed),
            progress=metrics.progress(places.output_dir(trained)),
            metric_patterns=metrics.PATTERNS,
            footprint=footprint.footprint(job, trained, self.stage) if options.engine == "hf" else None,
            saves=self._saves(job, trained, options) if options.engine == "hf" else None,
        )

    def shortened(self, job: Job, options: LlamaFactoryOptions, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
        """Returns the overrides of a rehearsal."""
        packs = self.demands(job.run, options).packing
        return shortening.shortened(job, self.stage, options, steps=steps, on_cpu=on_cpu, packs=packs)

    def _saves(self, job: Job, trained: Mapping[str, object], options: LlamaFactoryOptions) -> Saves | None:
        facts = _facts(job, self.stage, trained, options.version)
        return saves.saves(job, facts, self.stage, packs=self.demands(job.run, options).packing)

    def _arguments(self, job: Job, options: LlamaFactoryOptions) -> dict[str, object]:
        meanings = derived.training_arguments(job, self.stage.name, options.args)
        args = derived.spelled(meanings, options.args, omit=options.omit_defaults, version=options.version)
        if not any(action in args for action in _ACTIONS):
            args["do_train"] = True
        return dict(arguments.with_exact_integers(cast("Mapping[str, Json]", args), options.version))


class Pretraining(StageTrainer):
    """Continued pre-training on plain text."""

    stage = stages.PT


class SupervisedFineTuning(StageTrainer):
    """Supervised fine-tuning."""

    stage = stages.SFT


class RewardModeling(StageTrainer):
    """Training a reward model on preferences."""

    stage = stages.RM


class ProximalPolicyOptimization(StageTrainer):
    """Reinforcement learning against a reward model."""

    stage = stages.PPO


class DirectPreferenceOptimization(StageTrainer):
    """DPO and its relatives."""

    stage = stages.DPO


class KahnemanTverskyOptimization(StageTrainer):
    """KTO."""

    stage = stages.KTO


def _not_resumable(job: Job) -> Iterator[Problem]:
    """Several CPU processes under DDP: transformers 5.6 loads the optimizer's state onto cpu:0, which torch refuses."""
    if job.topology.accelerator == "cpu" and job.topology.world_size > 1 and distributed.zero_stage(job) is None:
        what = "CPU processes cannot go on from a checkpoint together: transformers 5.6 cannot load its optimizer."
        fix = "If such a run is interrupted, start it afresh: with attempt=2, or on this machine with resume=never."
        yield warning("compute.processes_per_node", what, fix)


def _facts(job: Job, stage: Stage, trained: Mapping[str, object], version: str) -> rules.Facts:
    return rules.Facts(
        stage=stage.name,
        args=cast("Mapping[str, Json]", trained),
        world_size=job.topology.world_size,
        zero_stage=distributed.zero_stage(job),
        fsdp=distributed.is_fsdp(job),
        accelerator=job.topology.accelerator,
        datasets=job.datasets,
        launched=distributed.is_launched(job),
        version=version,
    )


def _keys(args: Arguments) -> dict[str, str]:
    """Returns where each argument was said, for those that the user did not say under `trainer.args`."""
    return {name: key for name, key in derived.KEY_OF.items() if name not in args}


def _step(job: Job, step: LaterStep) -> Step:
    if step.keeps_model:
        return Step(name=step.name, argv=(*_COMMANDS, "export", step.path))
    if job.topology.processes_per_node == 1:
        return Step(name=step.name, argv=(RuntimeVar.PYTHON, *_TRAINING, step.path))
    # The processes of this node alone, whatever the training was spread over.
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", RuntimeVar.PROCS_PER_NODE)
    entry = distributed.worker_entry(job, (*_TRAINING, step.path))
    return Step(name=step.name, argv=(RuntimeVar.PYTHON, *launch, *entry), distributed=True)


def _output(step: LaterStep) -> Output:
    kinds = (OutputKind.MODEL,) if step.keeps_model else (OutputKind.LOGS,)
    return Output(name=step.name, path=places.normal(step.output_dir), kinds=kinds)


def _outputs(trained: Mapping[str, object]) -> Iterator[Output]:
    yield Output(
        name="train",
        path=places.normal(places.output_dir(trained)),
        kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS, OutputKind.LOGS),
        checkpoint_glob="checkpoint-*",
        checkpoint_complete="trainer_state.json",
    )
    tokenized = trained.get("tokenized_path")
    if places.is_relative(tokenized):
        yield Output(name="tokenized", path=places.normal(str(tokenized)), kinds=(OutputKind.MODEL,))


def _inputs(job: Job, args: Arguments) -> tuple[Input, ...]:
    placed = (places.model(job, args), *places.adapters(job, args), *(other for _, other in places.others(args)))
    linked = tuple(item.input for item in placed if item.input is not None)
    return (*linked, *dataset_info.inputs(job, places.data_dir(job, args)))


def _strategy_files(job: Job, trained: Mapping[str, object]) -> Iterator[TextFile]:
    """Yields the strategy's documents; DeepSpeed's lies where `deepspeed` says."""
    own, said = distributed.deepspeed_path(job), trained.get("deepspeed")
    for file in distributed.documents(job, mixed_precision=_mixed_precision(trained), hf_auto=True):
        moved = file.path == own and isinstance(said, str)
        yield replace(file, path=places.normal(str(said))) if moved else file


def _mixed_precision(trained: Mapping[str, object]) -> str:
    return next((name for argument, name in _PRECISIONS.items() if trained.get(argument) is True), "no")


def _places(job: Job, trained: Mapping[str, object], options: LlamaFactoryOptions) -> Iterator[Problem]:
    """Yields results that would be written over what the run reads."""
    key = "trainer.args.output_dir"
    value = options.args.get("output_dir")
    if value is not None and not places.is_relative(value):
        what = f"`{value}` is not a path inside the run's folder, where the results are written first."
        yield Problem(key=key, what=what, fix="Leave it out and set storage.output, which is a folder or an s3:// URI.")
        return
    read = [item.path for item in _inputs(job, options.args)] + [places.data_dir(job, options.args), TRAIN_FILE]
    for folder in [output.path for output in _outputs(trained)]:
        clash = next((path for path in read if places.overlap(path, folder)), None)
        if clash:
            what = f"The results would be written to `{folder}`, but `{clash}` is read from there."
            yield Problem(key=key, what=what, fix="Choose another output_dir.")


def _media(job: Job, trained: Mapping[str, object]) -> Iterator[Problem]:
    """Yields a doubt about images and the like: rows name them by path, and only the rows travel with the run."""
    media = ("images", "videos", "audios")
    for dataset in job.datasets:
        if dataset.source == "file" and any(role in dataset.columns for role in media) and "media_dir" not in trained:
            what = f"The rows of `{dataset.name}` name media files, and nothing says where those lie."
            fix = "Set trainer.args.media_dir to the folder that relative paths in the rows start from."
            yield warning("trainer.args.media_dir", what, fix)
            return


def _int(args: Arguments, name: str) -> int | None:
    value = args.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(args: Arguments, name: str, default: float) -> float:
    value = args.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
