"""From the arguments of a root field to one Python function that makes what its resolver is called with.

graphql-core and Strawberry walk literals, types and annotations anew for each request. Here that is done once, and what
is left is put into source: variables are read, inputs constructed. Lists and inputs are made anew each time, for a
resolver may change what it is given.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInputType,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_argument_values,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
)
from graphql.language import NonNullTypeNode
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import convert_argument
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.unset import UNSET

from schema.execution.fields import Declined
from schema.execution.values import Bail

Building: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From coerced variables to keyword arguments. Raises Bail where graphql-core has to say what is wrong."""

_ONE: Final = "value"


def arguments_of(
    field: GraphQLField,
    node: FieldNode,
    definition: StrawberryField,
    operation: OperationDefinitionNode,
    given: Mapping[str, Any],
    schema: Any,
) -> Building:
    """Return the function that makes the keyword arguments of a resolver, for requests that give these variables.

    ``given`` are coerced variables: only which of them there are counts. ``schema`` is Strawberry's. Raises Declined
    where graphql-core and Strawberry have to do it each time.
    """
    builder = _Builder(operation, given, schema)
    source = builder.source(field, node, definition)
    exec(compile(source, "<arguments>", "exec"), builder.names)  # noqa: S102 - made here, of names in the schema
    built: Building = builder.names["build"]
    return built


class _Builder:
    """The state of one generation. In the source ``c`` holds the coerced variables."""

    def __init__(self, operation: OperationDefinitionNode, given: Mapping[str, Any], schema: Any) -> None:
        self.names: dict[str, Any] = {"not_null": _not_null, "copied": _copied}
        self._given = given
        self._config: StrawberryConfig = schema.config
        self._scalars = schema.schema_converter.scalar_registry
        self._nullable = {
            variable.variable.name.value: not isinstance(variable.type, NonNullTypeNode)
            for variable in operation.variable_definitions or ()
        }

    def source(self, field: GraphQLField, node: FieldNode, definition: StrawberryField) -> str:
        stated = {argument.name.value: argument.value for argument in node.arguments or ()}
        entries = []
        for argument in definition.arguments:
            name = self._config.name_converter.from_argument(argument)
            declared = field.args[name]
            value = stated.get(name)
            if value is None or self._is_absent(value):
                alone = GraphQLField(field.type, args={_ONE: declared})
                default = get_argument_values(alone, FieldNode(name=node.name, arguments=()))
                if not default:
                    continue
                (constant,) = default.values()
                expression = self._constant_value(constant, argument.type)
            else:
                expression = self._value(value, declared.type, argument.type)
            entries.append(f"{argument.python_name!r}: {expression}")
        return f"def build(c):\n    return {{{', '.join(entries)}}}"

    def _is_absent(self, node: ValueNode) -> bool:
        return isinstance(node, VariableNode) and node.name.value not in self._given

    def _constant(self, value: object) -> str:
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name

    def _value(self, node: ValueNode, declared: GraphQLInputType, type_: Any) -> str:
        """Return the expression for a value of a document, of a type in GraphQL and in Strawberry."""
        if isinstance(node, VariableNode):
            return self._variable(node.name.value, declared, type_)
        if not _has_variables(node):
            coerced = coerce_input_literal(node, declared)
            if coerced is Undefined:
                raise Declined
            return self._constant_value(coerced, type_)
        if is_non_null_type(declared):
            declared = declared.of_type
        type_ = _inside(type_)
        if isinstance(node, ObjectValueNode) and is_input_object_type(declared):
            return self._object(node, declared, type_)
        if isinstance(node, ListValueNode) and is_list_type(declared) and isinstance(type_, StrawberryList):
            if any(map(self._is_absent, node.values)):
                raise Declined
            return f"[{', '.join(self._value(item, declared.of_type, type_.of_type) for item in node.values)}]"
        raise Declined

    def _variable(self, name: str, declared: GraphQLInputType, type_: Any) -> str:
        if name not in self._given or isinstance(type_, StrawberryMaybe):
            raise Declined
        value = f"c[{name!r}]"
        if is_non_null_type(declared) and self._nullable[name]:
            value = f"not_null({value})"
        inner = _inside(type_)
        is_list = isinstance(inner, StrawberryList)
        if is_list:
            inner = _inside(inner.of_type)
        if isinstance(inner, StrawberryList | StrawberryMaybe) or get_object_definition(inner) is not None:
            return f"{self._constant(lambda coerced: self._converted(coerced, type_))}({value})"
        return f"copied({value})" if is_list else value

    def _object(self, node: ObjectValueNode, declared: Any, type_: Any) -> str:
        """Return the call that constructs an input, as Strawberry would."""
        definition = get_object_definition(type_)
        if definition is None or definition.from_input is not None or declared.is_one_of:
            raise Declined
        stated = {field.name.value: field.value for field in node.fields if not self._is_absent(field.value)}
        members = []
        for field in definition.fields:
            name = self._config.name_converter.from_field(field)
            member_type = field.resolve_type(type_definition=definition)
            if name in stated:
                expression = self._value(stated[name], declared.fields[name].type, member_type)
            elif is_required_input_field(declared.fields[name]):
                raise Declined
            elif (default := coerce_default_value(declared.fields[name])) is not Undefined:
                expression = self._constant_value(default, member_type)
            elif field.default_value is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                expression = "None"
            else:
                continue
            members.append(f"{field.python_name}={expression}")
        return f"{self._constant(type_)}({', '.join(members)})"

    def _converted(self, coerced: object, type_: Any) -> object:
        return convert_argument(coerced, type_, self._scalars, self._config)

    def _constant_value(self, coerced: object, type_: Any) -> str:
        return self._anew(self._converted(coerced, type_))

    def _anew(self, value: object) -> str:
        """Return the expression that makes an equal value that nobody else has."""
        if value is None or value is UNSET or isinstance(value, str | int | float | Enum):
            return self._constant(value)
        if type(value) is list:
            return f"[{', '.join(map(self._anew, value))}]"
        if get_object_definition(type(value)) is not None:
            members = [field.name for field in dataclasses.fields(value) if field.init]  # type: ignore[arg-type]
            made = ", ".join(f"{name}={self._anew(getattr(value, name))}" for name in members)
            return f"{self._constant(type(value))}({made})"
        return f"{self._constant(copy.deepcopy)}({self._constant(value)})"


def _inside(type_: Any) -> Any:
    """Return what an optional type is made of."""
    while isinstance(type_, StrawberryOptional):
        type_ = type_.of_type
    return type_


def _has_variables(node: ValueNode) -> bool:
    if isinstance(node, ListValueNode):
        return any(map(_has_variables, node.values))
    if isinstance(node, ObjectValueNode):
        return any(_has_variables(field.value) for field in node.fields)
    return isinstance(node, VariableNode)


def _not_null(value: object) -> object:
    if value is None:
        raise Bail
    return value


def _copied(value: list[Any] | None) -> list[Any] | None:
    return None if value is None else list(value)
