"""What the API's own scalars are in the generated Python client."""

from typing import Any, TypeAlias

GeoJSON: TypeAlias = dict[str, Any]
