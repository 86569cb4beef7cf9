"""Datums against the published points (reference: official API values and eviltransform's own tests)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.datum import Datum, from_wgs84, to_wgs84
from app.model.geo import Point, distance_m

FORWARD = [
    ((121.5272106, 31.1774276), (121.531541859215, 31.17530398364597), (121.53801568643858, 31.181328606874466)),
    ((113.912316, 22.543847), (113.9171764808363, 22.540796131694766), (113.92368472926734, 22.546667437751108)),
    ((116.377817, 39.911954), (116.38404722455657, 39.91334545536069), (116.39045471310828, 39.919575550965874)),
]
OFFICIAL = [
    ((114.0164322, 33.0133556), (114.022306, 33.0115324), (114.0287781, 33.0176697)),
    ((111.4622119, 27.242124), (111.4677938, 27.2388981), (111.4742271, 27.2451662)),
    ((114.498916, 37.0700925), (114.5048503, 37.0705911), (114.5113116, 37.0766797)),
]


@pytest.mark.parametrize(("wgs84", "gcj02", "bd09"), FORWARD)
def test_forward_is_exact_to_the_printed_digits(wgs84, gcj02, bd09):
    point = Point(lon=wgs84[0], lat=wgs84[1])
    assert from_wgs84(point, Datum.GCJ02) == pytest.approx(gcj02, abs=1e-12)
    assert from_wgs84(point, Datum.BD09) == pytest.approx(bd09, abs=1e-12)
    assert from_wgs84(point, Datum.WGS84) == wgs84


@pytest.mark.parametrize(("wgs84", "gcj02", "bd09"), OFFICIAL)
def test_official_points_are_met_within_a_metre(wgs84, gcj02, bd09):
    for datum, (lon, lat) in ((Datum.GCJ02, gcj02), (Datum.BD09, bd09)):
        back = to_wgs84(lon, lat, datum)
        assert distance_m(back.lon, back.lat, *wgs84) < 1.0


@given(
    lon=st.floats(73, 135),
    lat=st.floats(4, 53),
    datum=st.sampled_from(list(Datum)),
)
def test_the_inverse_returns_within_a_centimetre(lon, lat, datum):
    there = from_wgs84(Point(lon=lon, lat=lat), datum)
    back = to_wgs84(*there, datum)
    assert distance_m(lon, lat, back.lon, back.lat) < 0.01


@given(lon=st.floats(-180, 60), lat=st.floats(-90, 90), datum=st.sampled_from(list(Datum)))
def test_outside_china_the_datums_are_one(lon, lat, datum):
    assert from_wgs84(Point(lon=lon, lat=lat), datum) == (lon, lat)
    assert to_wgs84(lon, lat, datum) == Point(lon=lon, lat=lat)
