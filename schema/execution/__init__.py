"""The compiled executor: answers GraphQL operations by functions generated for them. Explained in README.md."""

from schema.execution.executor import CompiledExecutor, Projecting
from schema.execution.plans import Plans

__all__ = ["CompiledExecutor", "Plans", "Projecting"]
