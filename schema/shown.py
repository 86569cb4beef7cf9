"""Fields that show what a value of the model says, without copying it first."""

from collections.abc import Sequence
from typing import Any

import strawberry

from schema.execution import reads


def shown(path: str, description: str, directives: Sequence[object] = ()) -> Any:
    """Return a field that shows an attribute of what the object stands for: ``shown("station.name", "Its name.")``.

    Only what is asked for is read, where a constructor would fill in all fields of all objects of an answer.
    """
    return strawberry.field(resolver=reads(path), description=description, directives=directives)
