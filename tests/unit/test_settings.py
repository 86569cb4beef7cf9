from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import SETTINGS, read_settings


def test_the_defaults_are_settings():
    settings = read_settings({"PATH": "/bin"})
    assert settings.data_dir == Path("var")
    assert settings.feeds == ()
    assert settings.pages is True


def test_values_are_read(tmp_path):
    settings = read_settings(
        {
            "CHARGEGRAPH_FEEDS": "teld, csg,",
            "CHARGEGRAPH_PORT": "0",
            "CHARGEGRAPH_PAGES": "Off",
            "CHARGEGRAPH_PROFILES_DIR": str(tmp_path),
            "CHARGEGRAPH_INBOUND_PATH": "/evcs/v2/",
        }
    )
    assert settings.feeds == ("teld", "csg")
    assert (settings.port, settings.pages, settings.profiles_dir) == (0, False, tmp_path)
    assert settings.inbound_path == "/evcs/v2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARGEGRAPH_PRT", "8080"),
        ("CHARGEGRAPH_PORT", "80a"),
        ("CHARGEGRAPH_PORT", "65536"),
        ("CHARGEGRAPH_PORT", "-1"),
        ("CHARGEGRAPH_PORT", "²"),
        ("CHARGEGRAPH_PAGES", "yes"),
        ("CHARGEGRAPH_PROFILES_DIR", "no-such-folder"),
        ("CHARGEGRAPH_INBOUND_PATH", "evcs"),
        ("CHARGEGRAPH_MAX_BODY_BYTES", "1"),
        ("CHARGEGRAPH_ADMIN_PORT", "none"),
        ("CHARGEGRAPH_DRAIN_S", "0.5"),
        ("CHARGEGRAPH_LOG_FORMAT", "xml"),
        ("CHARGEGRAPH_TRACES_URL", "collector:4318"),
        ("CHARGEGRAPH_TRACES_URL", "http://one,http://two"),
        ("CHARGEGRAPH_TRACES_RATIO", "1.1"),
        ("CHARGEGRAPH_TRACES_RATIO", "nan"),
        ("CHARGEGRAPH_TRACES_RATIO", "-0"),
    ],
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


def test_every_setting_explains_itself():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert all(setting.help.endswith(".") for setting in SETTINGS)
