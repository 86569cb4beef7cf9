"""Chinese station names, addresses, opening hours and notes, put together from ordinary words."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from indexers.sandbox.cities import City, District

_ROADS = (
    "中山", "人民", "解放", "建设", "和平", "长江", "黄河", "科技", "创新", "文化", "迎宾", "学府", "滨江", "朝阳",
    "金融", "工业", "新华", "胜利", "青年", "光明", "东风", "延安", "复兴", "振兴", "友谊", "民主", "幸福", "花园",
    "湖滨", "江南", "南山", "北环", "东环", "凤凰", "龙腾", "锦绣", "长安", "香山", "紫荆", "梧桐", "桂花", "银杏",
    "天府", "云海", "宏图", "兴业", "富强", "团结", "红旗", "翠竹", "清泉", "石桥", "柳林", "白云", "金沙", "玉泉",
)  # fmt: skip
_ROAD_ENDS = ("路", "大道", "街", "北路", "南路", "东路", "西路", "一路", "二路", "中路")
_ESTATES = ("花园", "家园", "小区", "华庭", "名苑", "雅居", "新城", "公馆", "嘉园", "府邸")
_PARKINGS = ("地面停车场", "负一层停车场", "负二层停车场", "北门停车场", "南广场停车场", "P3停车场", "露天停车场")


class Wording(NamedTuple):
    """What a station is called, where it says it is, and how one gets there."""

    name: str
    address: str
    site_guide: str


def word_station(
    draw: Random, *, brand: str, city: City, district: District, places: Sequence[str], suspended: bool
) -> Wording:
    """Return the words of one station; takes the same number of draws whatever comes out."""
    road = _ROADS[int(draw.random() * len(_ROADS))] + _ROAD_ENDS[int(draw.random() * len(_ROAD_ENDS))]
    house_number = 1 + int(draw.random() ** 2 * 1200)
    place = places[int(draw.random() * len(places))]
    prefix = _ROADS[int(draw.random() * len(_ROADS))]
    parking = _PARKINGS[int(draw.random() * len(_PARKINGS))]
    how, where = draw.random(), draw.random()
    place = prefix + (_ESTATES[house_number % len(_ESTATES)] if place == "小区" else place)
    return Wording(
        _name(how, brand, city.name.removesuffix("市"), road, place, suspended=suspended),
        _address(where, city, district, f"{road}{house_number}号", place + parking),
        parking if where < 0.5 else "",
    )


def _name(how: float, brand: str, city: str, road: str, place: str, *, suspended: bool) -> str:
    if suspended:
        return f"{brand}{city}{place}充电站(暂停营业)"
    if how < 0.02:
        return "汽车充电站"
    if how < 0.03:
        return "电动车充电站"
    if how < 0.05:
        return f"{brand}汽车充电站(内部专用)"
    if how < 0.20:
        return f"{brand}汽车充电站({place}站)"
    if how < 0.45:
        return f"{brand}{city}{road}充电站"
    return f"{brand}{city}{place}充电站"


def _address(where: float, city: City, district: District, street: str, place: str) -> str:
    region = city.name if city.province == city.name else city.province + city.name
    if where < 0.014:
        return ""
    if where < 0.020:
        return "附近"
    if where < 0.050:
        return f"{region}市辖区{street}"
    if where < 0.300:
        return f"{region}{district.name}{street}{place}"
    return f"{region}{district.name}{street}"


class Hours(NamedTuple):
    """Opening hours as stated, and what they mean; ``opens`` and ``closes`` are empty when always open or unclear."""

    text: str
    always: bool
    opens: str = ""
    closes: str = ""
    weekdays_only: bool = False


ALWAYS_OPEN = (
    Hours("周一至周日00:00-24:00", always=True),
    Hours("00:00-24:00", always=True),
    Hours("00:00-23:59", always=True),
    Hours("全天开放", always=True),
    Hours("全天", always=True),
    Hours("24", always=True),
    Hours("24小时", always=True),
)
LIMITED = (
    Hours("周一至周日08:00-22:00", always=False, opens="08:00", closes="22:00"),
    Hours("06:30-23:00", always=False, opens="06:30", closes="23:00"),
    Hours("周一至周五08:00-18:00", always=False, opens="08:00", closes="18:00", weekdays_only=True),
    Hours("09:00-21:30", always=False, opens="09:00", closes="21:30"),
    Hours("周一至周日18:00-08:00", always=False, opens="18:00", closes="08:00"),
)
UNCLEAR = (Hours("以停车场开放时间为准", always=False), Hours("", always=False), Hours("营业时间内", always=False))

PARK_FEES = (
    "免费", "免费停车", "10元/小时", "5元/小时", "充电期间免费停车2小时",
    "限时免费停车,每天第一次前2小时免停；超出时间参考价格：8元/小时（以实际收取为准）",
    "0（参照停车场实际费用）", "",
)  # fmt: skip
PAYMENTS = ("线上", "刷卡,线上", "刷卡、线上、现金", "线上支付", "")
REMARKS = ("", "", "", "请勿长时间占位", "限高2.2米", "充电前请扫码", "夜间请降低音量", "对外开放")
