"""The compiled executor: answers GraphQL operations by functions generated for them. Explained in README.md."""

from schema.execution.executor import CompiledExecutor, Projecting
from schema.execution.fields import ages, reads
from schema.execution.fragments import Fragmented, Fragments
from schema.execution.operations import Operations, Resolved
from schema.execution.plans import Plans
from schema.execution.subscriptions import Subscription, begin
from schema.execution.values import Bail

__all__ = [
    "Bail",
    "CompiledExecutor",
    "Fragmented",
    "Fragments",
    "Operations",
    "Plans",
    "Projecting",
    "Resolved",
    "Subscription",
    "ages",
    "begin",
    "reads",
]
