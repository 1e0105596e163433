"""Which samples a rank computes together, and which make up an optimizer step; numpy alone."""

from smtrain_native.runtime.batching.budget import Budget, find_budget
from smtrain_native.runtime.batching.error import PlanError
from smtrain_native.runtime.batching.plan import Plan, PlanReport
from smtrain_native.runtime.batching.planning import plan
from smtrain_native.runtime.batching.work import work

__all__ = ["Budget", "Plan", "PlanError", "PlanReport", "find_budget", "plan", "work"]
