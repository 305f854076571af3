"""Reads the records of numpy arrays and scalars, without numpy."""

import datetime
import math
import struct

from unpickle_records import Refused, kind, refuse

# What numpy stores where a time or a duration is missing.
NAT = -(2**63)
NANOSECONDS = {"D": 86400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000}
NANOSECONDS["ns"] = 1
# The codes that `struct` has for numpy's dtypes.
CODES = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
CODES |= {"f2": "e", "f4": "f", "f8": "d", "m8": "q", "M8": "q"}


def split(ticks, unit):
    """A number of a unit as whole seconds, and the digits of the rest without trailing zeros."""
    seconds, rest = divmod(ticks * NANOSECONDS[unit], 10**9)
    return seconds, f"{rest:09d}".rstrip("0")


def moment(ticks, unit):
    """A time since 1970 as a `datetime` of whole seconds in UTC, and the digits of the fraction."""
    seconds, digits = split(ticks, unit)
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds), digits


def padded(digits, least):
    """The fraction of a second with as many digits as it needs of `least`, 6 and 9."""
    width = next(width for width in (least, 6, 9) if len(digits) <= width)
    return "." + digits.ljust(width, "0") if width else ""


def time(ticks, unit, aware):
    """A time of an array, as pandas writes it in JSON: in UTC, with milliseconds."""
    if ticks == NAT:
        return None
    when, digits = moment(ticks, unit)
    if unit == "D":
        return when.date().isoformat()
    return when.isoformat() + padded(digits, 3) + ("Z" if aware else "")


def duration(ticks, unit):
    """A duration in ISO 8601, as pandas writes it."""
    if ticks == NAT:
        return None
    seconds, digits = split(ticks, unit)
    (days, seconds), fraction = divmod(seconds, 86400), f".{digits}" if digits else ""
    return f"P{days}DT{seconds // 3600}H{seconds // 60 % 60}M{seconds % 60}{fraction}S"


def elements(converter, dtype, raw, aware=False):
    """The elements of an array as JSON values, in the order of the pickle."""
    if kind(dtype) != "dtype":
        refuse(dtype)
    letter, size = dtype.args[0][:1], dtype.args[0][1:]
    if letter == "O":
        return converter.plain_list(raw) if type(raw) is list else refuse(raw)
    if type(raw) not in (bytes, bytearray):
        refuse(raw)
    big = dtype.state[1] == ">"
    if letter == "U":
        converter.spend(len(raw) // 4)
        texts = (raw[at : at + 4 * int(size)] for at in range(0, len(raw), 4 * int(size)))
        return [text.decode("utf-32-be" if big else "utf-32-le").rstrip("\0") for text in texts]
    if letter + size not in CODES:
        raise Refused(f"contains an array of dtype {letter}{size}, which is not converted")
    code = CODES[letter + size]
    count = len(raw) // struct.calcsize("=" + code)
    converter.spend(2 * count)
    values = struct.unpack(f"{'>' if big else '<'}{count}{code}", raw)
    if letter == "f":
        return [value if math.isfinite(value) else None for value in values]
    if letter in "mM":
        unit, multiple = dtype.state[8][1][:2]
        units = ((value if value == NAT else value * multiple) for value in values)
        unit = unit.decode()
        return [time(value, unit, aware) if letter == "M" else duration(value, unit) for value in units]
    return list(values)


def array(converter, record, aware=False):
    """The shape and the elements of a numpy array, the last axis varying fastest."""
    if kind(record) == "_frombuffer":
        raw, dtype, shape, order = record.args
        fortran = order == "F"
    elif kind(record) == "_reconstruct":
        _, shape, dtype, fortran, raw = record.state
        # Objects are listed row by row, also where the flag says that memory has the other order.
        fortran = fortran and type(raw) is not list
    else:
        refuse(record)
    flat = elements(converter, dtype, raw, aware)
    if len(shape) > 64 or min(shape, default=0) < 0 or math.prod(shape) != len(flat):
        raise Refused("contains an array whose elements do not fit its shape")
    return shape, transposed(flat, shape) if fortran else flat


def transposed(flat, shape):
    """The elements of which the first axis varies fastest, in the other order."""
    if len(shape) < 2 or not flat:
        return flat
    return [item for at in range(shape[0]) for item in transposed(flat[at :: shape[0]], shape[1:])]


def nested(converter, shape, flat):
    """The elements as lists of lists, one level for each axis."""
    for axis in range(len(shape) - 1, 0, -1):
        length, count = shape[axis], math.prod(shape[:axis])
        converter.spend(2 * count)
        flat = [flat[at * length : (at + 1) * length] for at in range(count)]
    return flat if shape else flat[0]


def scalar(converter, record):
    dtype, raw = record.args
    (value,) = elements(converter, dtype, raw)
    return value
