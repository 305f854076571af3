"""Reads the records of pandas objects, without pandas or pyarrow.

The result is that of `to_json(orient="split", date_format="iso")`, except that times and floats keep all
their digits and that periods and intervals become text. It was tried with what pandas 1.5.3, 2.0.3, 2.3.3 and
3.1.1 (with and without pyarrow) and numpy 1.26.4 and 2.4.6 write in the pickle protocols 3 to 5. Other
layouts, sparse and masked arrays and structured dtypes are refused.
"""

import datetime
import json
import math
import re
import struct

from unpickle_arrays import CODES, NAT, array, duration, moment, nested, padded, scalar
from unpickle_records import Refused, kind, refuse

# The units of a single time or duration, by pandas' numbers for them.
UNITS = {7: "s", 8: "ms", 9: "us", 10: "ns"}
# numpy's names for Arrow's types.
ARROW = {"int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2"}
ARROW |= {"uint32": "u4", "uint64": "u8", "halffloat": "f2", "float": "f4", "double": "f8"}


def read(converter, record):
    """`record` as a JSON value."""
    reader = READERS.get(kind(record)) or refuse(record)
    try:
        return reader(converter, record)
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception as error:  # Whatever comes of arguments and a state of another form.
        name = f"{type(record).__module__}.{type(record).__name__}"
        raise Refused(f"contains a {name} of an unknown form ({type(error).__name__})") from error


def timestamp(converter, record):
    """A single time, in its own time zone."""
    value, _, zone, unit = record.args
    when, digits = moment(value, UNITS[unit])
    offset = ""
    if zone is not None:
        local = when.replace(tzinfo=datetime.timezone.utc).astimezone(zone)
        when, offset = local.replace(tzinfo=None, fold=0), local.isoformat()[19:]
    return when.isoformat() + padded(digits, 0) + offset


def period(ordinal, frequency):
    """A period as pandas prints it, where `frequency` is as in "period[Q-DEC]" or an offset."""
    offsets = {"MonthEnd": "M", "QuarterEnd": "Q", "YearEnd": "Y", "Day": "D"}
    if kind(frequency) in offsets and frequency.args[0] == 1:
        letter = offsets[kind(frequency)]
    elif found := type(frequency) is str and re.fullmatch(r"period\[([MQYAD])(-[A-Z]{3})?\]", frequency):
        letter = found[1]
    else:
        raise Refused("contains periods other than years, quarters, months and days")
    if ordinal == NAT:
        return None
    if letter == "D":
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=ordinal)).isoformat()
    length = {"M": 12, "Q": 4}.get(letter, 1)
    year, part = 1970 + ordinal // length, ordinal % length + 1
    return f"{year}" + {"M": f"-{part:02d}", "Q": f"Q{part}"}.get(letter, "")


def picked(converter, values, codes):
    """The value of each code; null for -1."""
    sizes = [len(json.dumps(value)) for value in values]
    converter.spend(sum(sizes[code] for code in codes if code >= 0))
    return [values[code] if code >= 0 else None for code in codes]


def backed(converter, record):
    """The shape and the elements of a pandas array that is a numpy array and a dtype."""
    cls, _, state = record.args
    dtype, data = (record.state or state)[:2]
    if cls.__name__ == "Categorical":
        shape, codes = array(converter, data)
        return shape, picked(converter, labels(converter, dtype.state["categories"]), codes)
    if cls.__name__ == "PeriodArray":
        shape, ordinals = array(converter, data)
        return shape, [period(ordinal, dtype.args[0]) for ordinal in ordinals]
    if cls.__name__ not in {"DatetimeArray", "TimedeltaArray", "StringArray"}:
        raise Refused(f"contains a {cls.__module__}.{cls.__name__}, which is not converted")
    return array(converter, data, kind(dtype) == "DatetimeTZDtype")


def masked(converter, record):
    """The shape and the elements of an array of values and of a mask, which is true where one is missing."""
    shape, values = array(converter, record.state["_data"])
    _, mask = array(converter, record.state["_mask"])
    pairs = zip(values, mask, strict=True)
    return shape, [None if missing else value for value, missing in pairs]


def arrow(converter, record):
    """The shape and the elements of an array in Arrow's layout: validity bits, ends of the texts, data."""
    restored = record.state["_pa_array"]
    if kind(restored) != "_restore_array":
        refuse(restored)
    ((alias, length, _, offset, buffers, _, _),) = restored.args
    (alias,), buffers = alias.args, [buffer and buffer.args[0] for buffer in buffers]
    converter.spend(2 * length)
    places = range(offset, offset + length)

    def bit(buffer, at):
        return buffer[at >> 3] >> (at & 7) & 1 == 1

    if alias in {"string", "large_string"}:
        code = {"string": "i", "large_string": "q"}[alias]
        ends = struct.unpack_from(f"<{length + 1}{code}", buffers[1], offset * struct.calcsize("=" + code))
        converter.spend(sum(max(end - start, 0) for start, end in zip(ends, ends[1:])))
        data = buffers[2] or b""
        values = [data[start:end].decode() for start, end in zip(ends, ends[1:])]
    elif alias == "bool":
        values = [bit(buffers[1], at) for at in places]
    else:
        code = CODES[ARROW[alias]]
        values = struct.unpack_from(f"<{length}{code}", buffers[1], offset * struct.calcsize("=" + code))
        values = [value if math.isfinite(value) else None for value in values]
    valid = buffers[0]
    if valid is not None:
        values = [value if bit(valid, at) else None for value, at in zip(values, places)]
    return (length,), values


def values(converter, record, aware=False):
    """The shape and the elements of an array, as JSON values."""
    if kind(record) == "__pyx_unpickle_NDArrayBacked":
        return backed(converter, record)
    if kind(record) in {"BooleanArray", "FloatingArray", "IntegerArray"}:
        return masked(converter, record)
    if kind(record) in {"ArrowExtensionArray", "ArrowStringArray"}:
        return arrow(converter, record)
    if (kind(record) or "").startswith("_new_"):
        items = labels(converter, record)
        return (len(items),), items
    return array(converter, record, aware)


def labels(converter, record):
    """The labels of an index."""
    if not (kind(record) or "").startswith("_new_"):
        refuse(record)
    cls, parts = record.args
    if cls.__name__ == "RangeIndex":
        numbers = range(parts["start"], parts["stop"], parts["step"])
        converter.spend(2 * len(numbers))
        return list(numbers)
    if cls.__name__ == "IntervalIndex":
        ends = zip(labels(converter, parts["left"]), labels(converter, parts["right"]), strict=True)
        return [interval(left, right, parts["closed"]) for left, right in ends]
    if cls.__name__ == "MultiIndex":
        levels = [labels(converter, level) for level in parts["levels"]]
        codes = [array(converter, code)[1] for code in parts["codes"]]
        pairs = zip(levels, codes, strict=True)
        columns = [picked(converter, level, code) for level, code in pairs]
        return [list(label) for label in zip(*columns, strict=True)]
    (_,), items = values(converter, parts["data"], parts.get("tz") is not None)
    return items


def interval(left, right, closed):
    if left is None or right is None:
        return None
    start, end = {"right": "(]", "left": "[)", "both": "[]", "neither": "()"}[closed]
    return f"{start}{left}, {right}{end}"


def contents(converter, record):
    """The indexes of a data frame or a series, and its blocks: values and places."""
    manager = record.state["_mgr"]
    if kind(manager) not in {"BlockManager", "SingleBlockManager"}:
        refuse(manager)
    if manager.state is not None:
        parts = manager.state[3]["0.14.1"]
        axes, blocks = parts["axes"], [(block["values"], block["mgr_locs"]) for block in parts["blocks"]]
    else:
        blocks, axes = manager.args
        if kind(manager) == "SingleBlockManager":
            blocks, axes = [blocks], [axes]
        blocks = [block.args[:2] for block in blocks]
    return [labels(converter, axis) for axis in axes], blocks


def frame(converter, record):
    (columns, index), blocks = contents(converter, record)
    table = [None] * len(columns)
    for data, places in blocks:
        shape, flat = values(converter, data)
        rows = nested(converter, shape, flat) if len(shape) == 2 else [flat]
        if type(places) is slice:
            places = range(*places.indices(len(columns)))
        else:
            _, places = array(converter, places)
        for place, row in zip(places, rows, strict=True):
            table[place] = row
    if any(column is None or len(column) != len(index) for column in table):
        raise Refused("contains a DataFrame whose blocks do not fit its index")
    return {"columns": columns, "index": index, "data": [list(row) for row in zip(*table)]}


def series(converter, record):
    (index,), ((data, _),) = contents(converter, record)
    (_,), data = values(converter, data)
    if len(data) != len(index):
        raise Refused("contains a Series whose values do not fit its index")
    name = record.state["_name"] if "_name" in record.state else record.state["name"]
    return {"name": converter.plain(name), "index": index, "data": data}


def sequence(converter, record):
    return nested(converter, *values(converter, record))


READERS = {
    "DataFrame": frame,
    "Series": series,
    "Interval": lambda converter, record: interval(*map(converter.plain, record.args)),
    "Period": lambda converter, record: period(record.args[2], record.args[1]),
    "_nat_unpickle": lambda converter, record: None,
    "__nat_unpickle": lambda converter, record: None,
    "_timedelta_unpickle": lambda converter, record: duration(record.args[0], UNITS[record.args[1]]),
    "_unpickle_timestamp": timestamp,
    "scalar": scalar,
}
SEQUENCES = """ArrowExtensionArray ArrowStringArray BooleanArray FloatingArray IntegerArray _frombuffer
    _new_DatetimeIndex _new_Index _new_IntervalIndex _new_PeriodIndex _new_TimedeltaIndex _reconstruct
    __pyx_unpickle_NDArrayBacked"""
READERS |= dict.fromkeys(SEQUENCES.split(), sequence)
