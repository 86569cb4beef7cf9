"""Tell whether what concurrent clients saw can have happened one after another (Wing and Gong's search)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State")


class Operation(NamedTuple, Generic[State]):
    """One call and its answer. `step` gives the states that it can lead to, none where its answer would be wrong.

    `returned` is infinite where no answer came: it may have happened at any time since, or never.
    """

    called: float
    returned: float
    step: Callable[[State], Iterable[State]]


def is_linearizable(operations: Sequence[Operation[State]], start: State) -> bool:
    """Find an order that every answer fits, in which nothing moves before its call or behind its answer.

    The states have to be hashable. Many operations at once, and many without an answer, take exponential time.
    """
    operations = sorted(operations, key=lambda operation: operation.called)
    answered = sum(1 << place for place, operation in enumerate(operations) if operation.returned < math.inf)
    open_, seen = [(0, start)], {(0, start)}
    while open_:
        done, state = open_.pop()
        if done & answered == answered:
            return True
        todo = [(place, each) for place, each in enumerate(operations) if not done >> place & 1]
        first_answer = min(each.returned for _, each in todo)
        for place, operation in todo:
            if operation.called > first_answer:
                break
            for after in operation.step(state):
                reached = (done | 1 << place, after)
                if reached not in seen:
                    seen.add(reached)
                    open_.append(reached)
    return False
