"""What of a schema's change breaks those who ask it today: partners' queries, and neighbours in a supergraph."""

from collections.abc import Iterator

from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_ast_schema,
    find_breaking_changes,
    is_required_argument,
    is_required_input_field,
    parse,
    print_ast,
)

# Taken from a type, these break other subgraphs: references by that key, and fields that they have as well.
_PROMISES = {"key", "shareable"}


def breaking_changes(before: str, after: str) -> list[str]:
    """Return what breaks between two schemas in GraphQL's own language."""
    old, new = (build_ast_schema(parse(sdl), assume_valid=True, assume_valid_sdl=True) for sdl in (before, after))
    found = [change.description for change in find_breaking_changes(old, new)]
    found += [f"{path} has no default any more, and must be given." for path in _demanded(old, new)]
    kept = dict(_promises(new))
    for name, promises in _promises(old):
        found += [f"{name} is no longer {promise}." for promise in sorted(promises - kept.get(name, promises))]
    return found


def _demanded(old: GraphQLSchema, new: GraphQLSchema) -> Iterator[str]:
    """What had a default and is required without it, which graphql-core takes for a change of the default."""
    now = dict(_given(new))
    for path, given in _given(old):
        after = now.get(path)
        if after is not None and not _is_required(given) and _is_required(after) and str(given.type) == str(after.type):
            yield path


def _given(schema: GraphQLSchema) -> Iterator[tuple[str, GraphQLArgument | GraphQLInputField]]:
    for name, named in schema.type_map.items():
        if isinstance(named, GraphQLInputObjectType):
            for member, field in named.fields.items():
                yield f"{name}.{member}", field
        elif isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            for member, output in named.fields.items():
                for argument, declared in output.args.items():
                    yield f"{name}.{member}({argument}:)", declared


def _is_required(given: GraphQLArgument | GraphQLInputField) -> bool:
    return is_required_argument(given) if isinstance(given, GraphQLArgument) else is_required_input_field(given)


def _promises(schema: GraphQLSchema) -> Iterator[tuple[str, set[str]]]:
    for name, named in schema.type_map.items():
        if named.ast_node is not None:
            directives = getattr(named.ast_node, "directives", None) or ()
            yield name, {print_ast(node) for node in directives if node.name.value in _PROMISES}
