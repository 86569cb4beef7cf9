"""An address in one line, as people of its country write it."""

import pytest

from app.model.station import Address
from schema.station import in_one_line


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (Address(), None),
        (Address(country="CN"), None),
        (Address(text="", city=""), None),
        (Address(text="张江路1号", city="上海市", country="CN"), "上海市张江路1号"),
        (Address(text="上海市浦东新区张江路1号", city="上海市", country="CN"), "上海市浦东新区张江路1号"),
        (Address(text="中关村大街5号", city="北京市", region="北京市", country="CN"), "北京市中关村大街5号"),
        (Address(text="北京市", city="北京市", region="北京市", country="CN"), "北京市"),
        (Address(text="科技路2号", city="西安市", region="陕西省", area_code="610113"), "陕西省西安市科技路2号"),
        (
            Address(text="Hauptstraße 1", city="Berlin", postal_code="10115", country="DE"),
            "Hauptstraße 1, 10115 Berlin, DE",
        ),
        (Address(city="Berlin", region="Berlin"), "Berlin"),
        (
            Address(text="Main Street 1, 10115 Berlin", city="Berlin", postal_code="10115"),
            "Main Street 1, 10115 Berlin",
        ),
    ],
)
def test_each_part_is_said_once(address: Address, line: str | None) -> None:
    assert in_one_line(address) == line
