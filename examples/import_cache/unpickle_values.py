"""Unpickles what is on an exact list, and converts it to JSON."""

import collections
import datetime
import decimal
import json
import math
import pickle
import re
import uuid
import zoneinfo

from unpickle_frames import read
from unpickle_records import RECORDS, Record, Refused


class Function:
    """A function that a pickle may call but not alter: the state that a pickle gives it is refused."""

    __slots__ = ("function",)

    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)

    def __setstate__(self, state):
        raise Refused("contains a state for a function")


def zone(name, *_):
    if not re.fullmatch(r"[\w+-]+(/[\w+-]+)*", name, re.ASCII):
        raise Refused("contains a time zone of an unknown form")
    return zoneinfo.ZoneInfo(name)


def pytz_zone(name, offset=None, *_):
    """The zone of pytz that is `name` at a time when it is `offset` seconds ahead of UTC."""
    return zone(name) if offset is None else datetime.timezone(datetime.timedelta(seconds=offset))


def attribute(owner, name):
    """`getattr`, for the only attribute that pickles of time zones ask for."""
    if owner is ZONE and name == "_unpickle":
        return Function(zone)
    raise Refused("contains a builtins.getattr, which is not converted")


def content(value=b""):
    """`bytearray`, which can also make any number of zeros."""
    if isinstance(value, (bytes, bytearray)):
        return value
    raise Refused("contains a bytearray of an unknown form")


ZONE = type("ZoneInfo", (Record,), {"__slots__": (), "__module__": "zoneinfo"})
# All that a pickle may name. The name is compared as a whole, so that a dotted name is never resolved.
# Nothing here runs, imports or opens what a pickle chooses, except that a time zone's file is read.
LISTED = {
    ("builtins", "bytearray"): Function(content),
    ("builtins", "frozenset"): frozenset,
    ("builtins", "getattr"): Function(attribute),
    ("builtins", "set"): set,
    ("builtins", "slice"): slice,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "deque"): collections.deque,
    ("datetime", "date"): datetime.date,
    ("datetime", "datetime"): datetime.datetime,
    ("datetime", "time"): datetime.time,
    ("datetime", "timedelta"): datetime.timedelta,
    ("datetime", "timezone"): datetime.timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("pandas", "NA"): None,
    ("pandas._libs.missing", "NA"): None,
    ("pytz", "FixedOffset"): Function(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))),
    ("pytz", "_UTC"): Function(lambda: datetime.timezone.utc),
    ("pytz", "_p"): Function(pytz_zone),
    ("uuid", "UUID"): uuid.UUID,
    ("zoneinfo", "ZoneInfo"): ZONE,
    **RECORDS,
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in LISTED:
            return LISTED[module, name]
        raise Refused(f"contains a {module}.{name}, which is not converted")


class Converter:
    """Converts values to what JSON can represent, of at most `limit` bytes.

    A small pickle can refer to one list many times, which JSON has to repeat. `spend` counts the bytes that
    a value needs at least, before it is converted.
    """

    def __init__(self, limit):
        self.left = limit

    def spend(self, size):
        self.left -= size
        if self.left < 0:
            raise Refused("becomes more JSON than --json-megabytes allows")

    def plain(self, value):
        """`value` as what JSON can represent."""
        # Classes are compared exactly, so that no subclass with methods of its own is taken for one of them.
        kind = type(value)
        self.spend(2 + (len(value) if kind is str else 0))
        if kind in (str, int, bool) or value is None:
            return value
        if kind is float:
            return value if math.isfinite(value) else None
        if kind in (list, tuple, collections.deque):
            return self.plain_list(value)
        if kind in (dict, collections.OrderedDict):
            return self.members(kind.items(value))
        if kind in (set, frozenset):
            return sorted(self.plain_list(value), key=str)
        if kind in (datetime.date, datetime.datetime, datetime.time):
            return value.isoformat()
        if kind is decimal.Decimal:
            return str(value) if value.is_finite() else None
        if kind in (datetime.timedelta, uuid.UUID):
            return str(value)
        if isinstance(value, Record):
            return read(self, value)
        raise Refused(f"contains a {kind.__name__}, which is not converted")

    def plain_list(self, values):
        return [self.plain(value) for value in values]

    def members(self, items):
        members = {}
        for key, item in items:
            name = self.word(key)
            if name in members:
                raise Refused(f"contains two keys that become {name[:80]!r}")
            members[name] = self.plain(item)
        return members

    def word(self, key):
        """A key of a dict as text."""
        if type(key) is tuple:
            self.spend(2)
            return ", ".join(self.word(part) for part in key)
        key = self.plain(key)
        return key if isinstance(key, str) else json.dumps(key)


def envelope(pickled, modified, limit):
    """The JSON object of a pickle of the cache, which is at most `limit` bytes."""
    try:
        value = Unpickler(pickled).load()
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception as error:  # Whatever a broken pickle raises.
        raise Refused(f"is not a pickle that can be read: {error}") from error
    converter = Converter(limit)
    if type(value) in (dict, collections.OrderedDict) and "data" in value and "timestamp" in value:
        known = ("data", "timestamp", "expiration")
        return {name: converter.plain(value[name]) for name in known if name in value}
    return {"data": converter.plain(value), "timestamp": modified}
