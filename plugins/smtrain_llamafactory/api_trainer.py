"""`lf_api`: serving a model with LLaMA-Factory's OpenAI-style API."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Demands, Job, Package, Problem, Program, Run, RuntimeVar, Step
from smtrain_llamafactory import derived, document, model_only, requirements
from smtrain_llamafactory.options import ModelOnlyOptions

FILE = "inference.yaml"


class ApiTrainer:
    """Serves until it is stopped; host and port come from API_HOST and API_PORT (`env.API_PORT=…`)."""

    def demands(self, run: Run, options: ModelOnlyOptions) -> Demands:
        """Returns that no rows are needed."""
        return Demands(rows=None)

    def check(self, job: Job, options: ModelOnlyOptions) -> Iterator[Problem]:
        """Yields what is wrong with the arguments."""
        if options.engine != "hf":
            yield Problem(key="trainer.engine", what="Engine v1 has no API server.", fix="Set trainer.engine=hf.")
            return
        yield from model_only.check(job, options, {})

    def lower(self, job: Job, options: ModelOnlyOptions) -> Program:
        """Returns the program of one step."""
        args = derived.spelled(
            derived.model_arguments(job, options.args),
            options.args,
            omit=options.omit_defaults,
            version=options.version,
        )
        server = (Package(name="fastapi"), Package(name="sse-starlette"), Package(name="uvicorn"))
        return Program(
            steps=(Step(name="serve", argv=(RuntimeVar.PYTHON, "-m", "llamafactory.cli", "api", FILE)),),
            files=(document.render(FILE, args),),
            inputs=model_only.inputs(job, options.args),
            needs=requirements.needs(job, options.version, args, more=server),
        )
