"""What SageMaker refuses in a CreateTrainingJob request, or charges for nothing, that its service model does not say.

Lengths, patterns, enums, counts and ranges are the model's: `smtrain.api_limits`. Nothing is here twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smtrain.plugin import Problem
from smtrain_trainingjob.rules import compute as rules_compute
from smtrain_trainingjob.rules import data_sources as rules_data
from smtrain_trainingjob.rules import program_members as rules_program
from smtrain_trainingjob.rules.request_view import RequestView

RULES: tuple[Callable[[RequestView], Iterator[Problem]], ...] = (
    *rules_compute.RULES,
    *rules_data.RULES,
    *rules_program.RULES,
)
"""Each looks at one thing, and takes any request, also one that the model would refuse."""


def problems(view: RequestView) -> Iterator[Problem]:
    """Yields what every rule finds in a request."""
    for rule in RULES:
        yield from rule(view)
