"""`lf_export`: merging an adapter into its model, or quantising a model, without a training."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Demands, Job, Output, OutputKind, Problem, Program, Run, RuntimeVar, Step
from smtrain_llamafactory import arguments, derived, document, model_only, places, requirements, shortening, v1_engine
from smtrain_llamafactory.options import ModelOnlyOptions

FILE = "export.yaml"
EXPORT_DIR = "export"


class ExportTrainer:
    """Writes a whole model."""

    def demands(self, run: Run, options: ModelOnlyOptions) -> Demands:
        """Returns that no rows are needed."""
        return Demands(rows=None)

    def check(self, job: Job, options: ModelOnlyOptions) -> Iterator[Problem]:
        """Yields every reason why LLaMA-Factory could not export."""
        if options.engine == "v1":
            return
        yield from model_only.check(job, options, {"export_dir": EXPORT_DIR})
        if options.version not in arguments.KNOWN_VERSIONS:
            return
        folder = options.args.get("export_dir")
        if folder is not None and not places.is_relative(folder):
            what = f"`{folder}` is not a path inside the run's folder."
            fix = "Leave it out and set storage.output, which is a folder or an s3:// URI."
            yield Problem(key="trainer.args.export_dir", what=what, fix=fix)

    def lower(self, job: Job, options: ModelOnlyOptions) -> Program:
        """Returns the program of one step."""
        if options.engine == "v1":
            return v1_engine.merge(job, options.version, options.args)
        args = _arguments(job, options)
        output = Output(name="export", path=places.normal(str(args["export_dir"])), kinds=(OutputKind.MODEL,))
        return Program(
            steps=(Step(name="export", argv=(RuntimeVar.PYTHON, "-m", "llamafactory.cli", "export", FILE)),),
            files=(document.render(FILE, args),),
            inputs=model_only.inputs(job, options.args),
            outputs=(output,),
            needs=requirements.needs(job, options.version, args),
        )

    def shortened(self, job: Job, options: ModelOnlyOptions, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
        """Returns the overrides of a rehearsal; an export has no steps."""
        return tuple(shortening.without_gpu("trainer.args", options.args)) if on_cpu else ()


def _arguments(job: Job, options: ModelOnlyOptions) -> dict[str, object]:
    folder = options.args.get("export_dir")
    return {
        **derived.spelled(
            derived.model_arguments(job, options.args),
            options.args,
            omit=options.omit_defaults,
            version=options.version,
        ),
        "export_dir": folder if places.is_relative(folder) else EXPORT_DIR,
    }
