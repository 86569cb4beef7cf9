import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.geo import EARTH_RADIUS_M, distance_m, is_position

LON = st.floats(-180, 180)
LAT = st.floats(-90, 90)


@given(LON, LAT, LON, LAT)
def test_distance_is_the_angle_between_unit_vectors(lon_a, lat_a, lon_b, lat_b):
    def vector(lon, lat):
        x, y = math.radians(lon), math.radians(lat)
        return np.array([math.cos(y) * math.cos(x), math.cos(y) * math.sin(x), math.sin(y)])

    a, b = vector(lon_a, lat_a), vector(lon_b, lat_b)
    angle = math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))
    # haversine loses digits near the antipode: a metre there, a millimetre elsewhere
    assert distance_m(lon_a, lat_a, lon_b, lat_b) == pytest.approx(angle * EARTH_RADIUS_M, abs=1.0, rel=1e-9)


@given(LON, LAT, st.lists(st.tuples(LON, LAT), min_size=1, max_size=40))
def test_arrays_and_numbers_agree(lon, lat, others):
    lons, lats = (np.array(column) for column in zip(*others, strict=True))
    array = distance_m(lon, lat, lons, lats)
    assert array.tolist() == [distance_m(lon, lat, float(x), float(y)) for x, y in others]


def test_the_antimeridian_is_no_border():
    assert distance_m(179.999, 0.0, -179.999, 0.0) == pytest.approx(222.39, abs=0.01)
    assert distance_m(0.0, 90.0, 123.0, 90.0) == 0.0


@pytest.mark.parametrize(
    ("lon", "lat"), [(math.nan, 0), (0, math.nan), (math.inf, 0), (180.0001, 0), (0, -90.0001), (200, 95)]
)
def test_what_is_no_position(lon, lat):
    assert not is_position(lon, lat)
