"""The subgraph `products` that Apollo's compatibility suite asks, on our own class of schemas and entities.

Its schema and its data are prescribed: `products.graphql` in the suite's package.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import strawberry
from strawberry.federation.schema_directives import Tag
from strawberry.schema_directive import Location

from app.errors import InvalidInputError
from schema.context import Context
from schema.entities import Answer, Kind
from schema.root import Subgraph


@strawberry.federation.schema_directive(
    locations=[Location.OBJECT],
    name="custom",
    compose=True,
    import_url="https://myspecs.dev/myCustomDirective/v1.0",
)
class Custom:
    """Composed into the supergraph."""


@strawberry.federation.type(extend=True, keys=["email"])
class User:
    email: strawberry.ID = strawberry.federation.field(external=True)
    total_products_created: int | None = strawberry.federation.field(external=True)
    years_of_employment: int = strawberry.federation.field(external=True)
    name: str | None = strawberry.federation.field(override="users")

    @strawberry.federation.field(  # type: ignore[untyped-decorator]
        requires=["totalProductsCreated yearsOfEmployment"]
    )
    def average_products_created_per_year(self) -> int | None:
        if self.total_products_created is None or not self.years_of_employment:
            return None
        return round(self.total_products_created / self.years_of_employment)


@strawberry.federation.type(shareable=True)
class ProductDimension:
    size: str | None
    weight: float | None
    unit: str | None = strawberry.federation.field(inaccessible=True)


@strawberry.type
class ProductVariation:
    id: strawberry.ID


@strawberry.type
class CaseStudy:
    case_number: strawberry.ID
    description: str | None


@strawberry.federation.type(keys=["study { caseNumber }"])
class ProductResearch:
    study: CaseStudy
    outcome: str | None


@strawberry.federation.type(keys=["sku package"])
class DeprecatedProduct:
    sku: str
    package: str
    reason: str | None
    created_by: User | None


@strawberry.federation.type(keys=["id", "sku package", "sku variation { id }"], directives=[Custom()])
class Product:
    id: strawberry.ID
    sku: str | None
    package: str | None
    variation: ProductVariation | None
    dimensions: ProductDimension | None
    created_by: User | None = strawberry.federation.field(provides=["totalProductsCreated"])
    notes: str | None = strawberry.federation.field(directives=[Tag(name="internal")])
    research: list[ProductResearch]


@strawberry.federation.interface_object(keys=["id"])
class Inventory:
    id: strawberry.ID
    deprecated_products: list[DeprecatedProduct]


def _user(email: str, total: int | None, years: int | None) -> User:
    # Who asks for a figure that its representation does not have gets an error, and nothing made up.
    return User(
        email=strawberry.ID(email),
        name="Jane Smith",
        total_products_created=total,
        years_of_employment=years,  # type: ignore[arg-type]
    )


_JANE = _user("support@apollographql.com", 1337, 10)
_OLD = DeprecatedProduct(
    sku="apollo-federation-v1",
    package="@apollo/federation-v1",
    reason="Migrate to Federation V2",
    created_by=_JANE,
)
_RESEARCH = (
    ProductResearch(study=CaseStudy(case_number=strawberry.ID("1234"), description="Federation Study"), outcome=None),
    ProductResearch(study=CaseStudy(case_number=strawberry.ID("1235"), description="Studio Study"), outcome=None),
)
_PRODUCTS = tuple(
    Product(
        id=strawberry.ID(id_),
        sku=sku,
        package=package,
        variation=ProductVariation(id=strawberry.ID(variation)),
        dimensions=ProductDimension(size="small", weight=1, unit="kg"),
        created_by=_JANE,
        notes=None,
        research=[research],
    )
    for id_, sku, package, variation, research in (
        ("apollo-federation", "federation", "@apollo/federation", "OSS", _RESEARCH[0]),
        ("apollo-studio", "studio", "", "platform", _RESEARCH[1]),
    )
)


@strawberry.type
class Query:
    @strawberry.field
    def product(self, id: strawberry.ID) -> Product | None:  # noqa: A002 - its name in the schema
        return next((each for each in _PRODUCTS if each.id == id), None)

    @strawberry.field(  # type: ignore[untyped-decorator]
        deprecation_reason="Use product query instead"
    )
    def deprecated_product(self, sku: str, package: str) -> DeprecatedProduct | None:
        return _OLD if (_OLD.sku, _OLD.package) == (sku, package) else None


def _kind(paths: Sequence[str], find: Callable[..., Answer]) -> Kind:
    """Return a kind whose keys are the values at these paths of a representation, None where there is none."""

    def read(representation: Mapping[str, Any], place: str) -> tuple[Any, ...]:
        key = tuple(_at(representation, path) for path in paths)
        if all(value is None for value in key):
            raise InvalidInputError(place, f"give one of {', '.join(paths)}")
        return key

    async def find_all(_: Context, keys: list[tuple[Any, ...]]) -> list[Answer]:
        return [find(*key) for key in keys]

    return Kind(read, find_all)


def _at(value: Any, path: str) -> str | int | None:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str | int) else None


def _product(id_: str | None, sku: str | None, package: str | None, variation: str | None) -> Product | None:
    for each in _PRODUCTS:
        assert each.variation is not None
        if each.id == id_ or (each.sku == sku and (each.package == package or each.variation.id == variation)):
            return each
    return None


class Products(Subgraph):
    """Our class of schemas, with other entities."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "Product": _kind(("id", "sku", "package", "variation.id"), _product),
        "DeprecatedProduct": _kind(
            ("sku", "package"), lambda sku, package: _OLD if (_OLD.sku, _OLD.package) == (sku, package) else None
        ),
        "ProductResearch": _kind(
            ("study.caseNumber",),
            lambda number: next((each for each in _RESEARCH if each.study.case_number == number), None),
        ),
        "User": _kind(("email", "totalProductsCreated", "yearsOfEmployment"), _user),
        "Inventory": _kind(("id",), lambda id_: Inventory(id=id_, deprecated_products=[_OLD])),
    }


# The suite knows no version beyond 2.3.
products = Products(query=Query, types=[Inventory, User], federation_version="2.3")
