"""The nine operators: their ids, their secrets, and how each one's T/CEC 102 differs from the standard's.

The secrets are published: they open nothing but this sandbox. What is not the standard's own way is a quirk that was
seen on a running platform or in its source; the table in README.md says which operator has which.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

HUB_OPERATOR_ID: Final = "MAHUB0001"
"""The hub's OperatorID at every operator of the sandbox."""

OCPI_TOKEN: Final = "sandbox-ocpi-token-0001"
OCPI_PATH: Final = "/ocpi/2.2.1/locations"


class SigCase(StrEnum):
    """Which case of the hexadecimal Sig an operator accepts; it sends the same (upper for ANY)."""

    UPPER = "upper"
    LOWER = "lower"
    ANY = "any"


class Keys(StrEnum):
    """How keys are spelt: as in the standard, ids with a small first letter in statuses, or all with a small one."""

    STANDARD = "standard"
    SMALL_IDS_IN_STATUS = "small ids in status"
    LOWER_CAMEL = "lower camel"


class TokenRule(StrEnum):
    """What a new query_token does to the tokens given out before."""

    KEEPS_ALL = "keeps all"
    KILLS_OLDER = "kills older"
    REPEATS_UNTIL_EXPIRY = "repeats until expiry"
    CHECKS_NONE = "checks none"


class Text(StrEnum):
    """Which numbers are sent as text."""

    NONE = "none"
    POSITIONS = "positions"
    POWERS = "powers"
    INTEGERS = "integers"


class Absent(Enum):
    """How an optional value that is not there is sent."""

    LEFT_OUT = "left out"
    NULL = "null"
    EMPTY = "empty text"


class ErrorData(Enum):
    """What stands in Data and Sig of an error."""

    EMPTY_SIGNED = "Data empty, Sig over Ret and Msg"
    NULL = "Data and Sig null"
    OBJECT = "Data an empty object, Sig null"
    MISSING = "Data and Sig missing"


class PriceForm(StrEnum):
    """How a day's prices become the text of ElectricityFee and ServiceFee."""

    COLONS = "电费:00:00~07:00:0.2849,07:00~10:00:0.7523"
    SEMICOLONS = "电费:00:00~07:00,0.2849;07:00~10:00,0.7523"
    YUAN_PER_KWH = "00:00-07:00 0.2849元/度;07:00-10:00 0.7523元/度"
    FLAT = "0.8/度"


class PushShape(StrEnum):
    """The shape of notification_stationStatus."""

    ONE = "ConnectorStatusInfo, one object"
    ARRAY = "ConnectorStatusInfos, an array"
    ARRAY_UNDER_SINGULAR = "ConnectorStatusInfo, an array"


class PushSeq(StrEnum):
    """Seq of a push."""

    COUNTER = "0001 and up within a second"
    ALWAYS_0001 = "always 0001"
    UNPADDED = "1, 2, … without zeros"
    MILLISECONDS = "the last four digits of the clock in milliseconds"


class PushRenewal(StrEnum):
    """What a pusher does when the hub answers 4002."""

    REPEATS = "renews and repeats the push"
    LOSES = "renews and loses the push"
    WAITS = "goes on with the dead token until its cache ends after a minute"


@dataclass(frozen=True, slots=True)
class Secrets:
    """One direction's secrets, used as the raw bytes of their text."""

    operator_secret: str
    data_secret: str
    data_secret_iv: str
    sig_secret: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One operator's way of speaking T/CEC 102. The defaults are the standard's."""

    name: str
    operator_id: str
    base_path: str
    call: Secrets
    """For the hub calling the operator."""
    serve: Secrets
    """For the operator calling the hub."""
    station_id: str
    """Format of a StationID from ``area`` (six digits) and ``n`` (unique in the operator, at the end)."""
    equipment_id: str
    connector_id: str
    sig_case: SigCase = SigCase.ANY
    keys: Keys = Keys.STANDARD
    ret_is_text: bool = False
    total_is_text: bool = False
    text: Text = Text.NONE
    absent: Absent = Absent.LEFT_OUT
    error_data: ErrorData = ErrorData.EMPTY_SIGNED
    response_operator_id: str | None = None
    empty_list_is_null: bool = False
    http_errors: bool = False
    """401 for an unknown operator, 400 for a body that is no JSON, and an answer without an envelope to bad padding."""
    timestamp_window_s: int | None = None
    token_rule: TokenRule = TokenRule.KEEPS_ALL
    token_ttl_s: float = 7200
    max_page_size: int = 100
    caps_page_size: bool = False
    """Answers too large a PageSize with fewer rows; the others refuse it with 4004."""
    first_page_beyond_end: bool = False
    busy_every: int | None = None
    """Every how many data requests one is answered with Ret -1, or in turn with 500."""
    price_form: PriceForm = PriceForm.COLONS
    bays_unknown: bool = False
    equipment_position: bool | None = None
    """True copies the station's position to its equipment, False sends 0.0, None leaves it out."""
    pictures_joined: bool = False
    java_keys: bool = False
    later_fields: bool = False
    """Sends fields of T/CEC 102-2021 and of provincial dialects as well."""
    misspelt: bool = False
    """Spells BusineHours and Payment its own way."""
    coarse_status: bool = False
    """Knows only 0, 1, 3 and 255."""
    park_and_lock: bool = False
    push_shape: PushShape = PushShape.ONE
    push_seq: PushSeq = PushSeq.COUNTER
    push_timestamp_digits: int = 14
    push_bearer: str = "Bearer "
    push_renewal: PushRenewal = PushRenewal.REPEATS


def _secrets(code: str, direction: str, long: frozenset[str] = frozenset()) -> Secrets:
    """Return four texts of 16 characters that nobody takes for real ones, such as SANDBOXTELDCALLO; 32 where asked."""

    def one(letter: str) -> str:
        return f"SANDBOX{code}{direction}{letter}" * (2 if letter in long else 1)

    return Secrets(one("O"), one("D"), one("I"), one("S"))


_LONG = frozenset("OS")

DIALECTS: Final = (
    Dialect(
        name="teld",
        operator_id="395815801",
        base_path="/teld/evcs/v20161110",
        call=_secrets("TELD", "CALL"),
        serve=_secrets("TELD", "SERV"),
        station_id="{area}{n:04d}",
        equipment_id="{station}{cabinet:03d}E",
        connector_id="{station}{gun:03d}",
        sig_case=SigCase.UPPER,
        response_operator_id="395815801",
        bays_unknown=True,
        equipment_position=True,
        park_and_lock=True,
        push_bearer="Bearer",
    ),
    Dialect(
        name="starcharge",
        operator_id="313744932",
        base_path="/starcharge/evcs/starcharge",
        call=_secrets("STAR", "CALL", _LONG),
        serve=_secrets("STAR", "SERV", _LONG),
        station_id="313744932^s{n:05d}",
        equipment_id="{n:09d}{cabinet:06d}",
        connector_id="313744932{n:010d}{gun:07d}",
        text=Text.POSITIONS,
        token_rule=TokenRule.KILLS_OLDER,
        token_ttl_s=86_400,
        price_form=PriceForm.SEMICOLONS,
        push_seq=PushSeq.ALWAYS_0001,
    ),
    Dialect(
        name="stategrid",
        operator_id="MA002TMQX",
        base_path="/stategrid/evcs/v1",
        call=_secrets("SGCC", "CALL"),
        serve=_secrets("SGCC", "SERV"),
        station_id="{area}MA002TMQX{n:04d}",
        equipment_id="{area}{n:07d}{cabinet:04d}",
        connector_id="{area}{n:07d}{gun:04d}",
        sig_case=SigCase.UPPER,
        ret_is_text=True,
        total_is_text=True,
        error_data=ErrorData.NULL,
        absent=Absent.EMPTY,
        equipment_position=False,
        push_timestamp_digits=12,
    ),
    Dialect(
        name="csg",
        operator_id="MA5DT8Q54",
        base_path="/wodeev/evcs/v1",
        call=_secrets("CSGW", "CALL"),
        serve=_secrets("CSGW", "SERV"),
        station_id="{n:014d}",
        equipment_id="{n:014d}{cabinet:03d}",
        connector_id="{n:014d}{gun:03d}",
        sig_case=SigCase.LOWER,
        keys=Keys.SMALL_IDS_IN_STATUS,
        text=Text.POWERS,
        token_ttl_s=7200.000012,
        error_data=ErrorData.MISSING,
        price_form=PriceForm.YUAN_PER_KWH,
        push_renewal=PushRenewal.LOSES,
    ),
    Dialect(
        name="wancheng",
        operator_id="MA59J8YL8",
        base_path="/wancheng/evcs/v20191230",
        call=_secrets("WANC", "CALL"),
        serve=_secrets("WANC", "SERV"),
        station_id="9007199254{n:09d}",
        equipment_id="9107{n:09d}{cabinet:06d}",
        connector_id="9207{n:09d}{gun:06d}",
        absent=Absent.NULL,
        empty_list_is_null=True,
        max_page_size=50,
        caps_page_size=True,
        first_page_beyond_end=True,
        java_keys=True,
        push_shape=PushShape.ARRAY,
    ),
    Dialect(
        name="naerchong",
        operator_id="MA4KLMAK4",
        base_path="/naerchong/evcs/v1",
        call=_secrets("NAER", "CALL"),
        serve=_secrets("NAER", "SERV"),
        station_id="28-{n:05d}",
        equipment_id="28-{n:05d}-E{cabinet:03d}",
        connector_id="28-{n:05d}_{gun:03d}",
        keys=Keys.LOWER_CAMEL,
        token_ttl_s=604_800,
        busy_every=97,
        price_form=PriceForm.FLAT,
        coarse_status=True,
        push_shape=PushShape.ARRAY_UNDER_SINGULAR,
    ),
    Dialect(
        name="tewate",
        operator_id="MASBX0TWT",  # SANDBOX: no public identifier of this operator is known; this one is made up
        base_path="/tewate/evcs/v20160701",
        call=_secrets("TEWA", "CALL"),
        serve=_secrets("TEWA", "SERV"),
        station_id="TWT_{n:06d}",
        equipment_id="TWT_{n:06d}_E{cabinet:03d}",
        connector_id="TWT_{n:06d}_{gun:03d}",
        text=Text.INTEGERS,
        http_errors=True,
        timestamp_window_s=300,
        pictures_joined=True,
        push_seq=PushSeq.UNPADDED,
    ),
    Dialect(
        name="yilaite",
        operator_id="MASBX0YLT",  # SANDBOX: made up, as above
        base_path="/yilaite/web/province/v1",
        call=_secrets("YILA", "CALL"),
        serve=_secrets("YILA", "SERV"),
        station_id="{n:08d}",
        equipment_id="{n:08d}E{cabinet:03d}",
        connector_id="{n:08d}{gun:03d}",
        response_operator_id=HUB_OPERATOR_ID,
        token_rule=TokenRule.REPEATS_UNTIL_EXPIRY,
        later_fields=True,
        park_and_lock=True,
        push_renewal=PushRenewal.LOSES,
    ),
    Dialect(
        name="yunpu",
        operator_id="MASBX0YPC",  # SANDBOX: made up, as above
        base_path="/yunpu/evcs-cec",
        call=_secrets("YUNP", "CALL"),
        serve=_secrets("YUNP", "SERV"),
        station_id="YP{n:07d}",
        equipment_id="YP{n:07d}E{cabinet:03d}",
        connector_id="YP{n:07d}G{gun:03d}",
        error_data=ErrorData.OBJECT,
        token_rule=TokenRule.CHECKS_NONE,
        price_form=PriceForm.SEMICOLONS,
        misspelt=True,
        push_seq=PushSeq.MILLISECONDS,
        push_bearer="",
        push_renewal=PushRenewal.WAITS,
    ),
)
"""The nine operators in the order of their size."""


def environment(base_url: str) -> dict[str, str]:
    """Return every environment variable that the hub's profiles read; ``base_url`` has no final slash."""
    names: dict[str, str] = {}
    for dialect in DIALECTS:
        prefix = dialect.name.upper()
        names[f"{prefix}_URL"] = base_url + dialect.base_path
        for direction, secrets in (("CALL", dialect.call), ("SERVE", dialect.serve)):
            names[f"{prefix}_{direction}_OPERATOR_SECRET"] = secrets.operator_secret
            names[f"{prefix}_{direction}_DATA_SECRET"] = secrets.data_secret
            names[f"{prefix}_{direction}_DATA_SECRET_IV"] = secrets.data_secret_iv
            names[f"{prefix}_{direction}_SIG_SECRET"] = secrets.sig_secret
    names["OCPI_SANDBOX_URL"] = base_url + OCPI_PATH
    names["OCPI_SANDBOX_TOKEN"] = OCPI_TOKEN
    return names
