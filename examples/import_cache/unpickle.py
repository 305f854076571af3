#!/usr/bin/env python3
"""Converts a cache of Python pickles into files that `import_cache --envelopes` reads.

    python3 unpickle.py [--keys KEYS] FROM TO

A pickle is what a program has cached; or a dict of it as `data`, with `timestamp` (seconds since 1970)
and `expiration` (seconds). Data frames and series become objects of `columns`, `index` and `data`, times ISO
8601, decimals text, NaN and infinities null. pandas and numpy are needed only where the pickles hold
such things.

KEYS has a JSON object on each line, for caches whose file names are hashes: `name`, the file's name without
its ending, or `call`, the text of which the name is the MD5; and what it is: `ticker`, `data_type`,
`parameters`.

Reading a pickle runs what is in it. Only plain values, times, decimals, numpy and pandas are let through here;
still, convert only what your own programs have written.
"""

import argparse
import collections
import datetime
import decimal
import hashlib
import json
import math
import pathlib
import pickle
import sys
import uuid

PLAIN = {
    "builtins": {"frozenset", "set", "slice"},
    "collections": {"OrderedDict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "uuid": {"UUID"},
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if name in PLAIN.get(module, ()) or module.split(".")[0] in {"numpy", "pandas"}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"holds a {module}.{name}, which is not converted")


def plain(value):
    """`value` as something that JSON can hold."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, collections.abc.Mapping):
        return {word(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, collections.deque)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if type(value).__module__.split(".")[0] == "pandas" and hasattr(value, "to_json"):
        return json.loads(value.to_json(orient="split", date_format="iso", double_precision=15))
    if hasattr(value, "isoformat"):
        # What pandas writes for no time.
        return None if str(value) == "NaT" else value.isoformat()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (decimal.Decimal, datetime.timedelta, uuid.UUID)):
        return str(value)
    raise TypeError(f"holds a {type(value).__name__}, which is not converted")


def word(key):
    if isinstance(key, tuple):
        return ", ".join(word(part) for part in key)
    key = plain(key)
    return key if isinstance(key, str) else json.dumps(key)


def envelope(path):
    with path.open("rb") as file:
        value = Unpickler(file).load()
    if isinstance(value, dict) and {"data", "timestamp"} <= value.keys():
        known = {"data", "timestamp", "expiration"}
        return {name: plain(item) for name, item in value.items() if name in known}
    return {"data": plain(value), "timestamp": path.stat().st_mtime}


def keys_of(path):
    keys = {}
    for line in path.read_text().splitlines() if path else []:
        if line.strip():
            key = json.loads(line)
            name, call = key.pop("name", None), key.pop("call", None)
            keys[name or hashlib.md5(call.encode()).hexdigest()] = key
    return keys


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=pathlib.Path)
    parser.add_argument("source", metavar="FROM", type=pathlib.Path)
    parser.add_argument("target", metavar="TO", type=pathlib.Path)
    given = parser.parse_args()
    keys = keys_of(given.keys)
    given.target.mkdir(parents=True, exist_ok=True)
    converted = failed = 0
    for path in sorted(path for path in given.source.iterdir() if path.is_file()):
        try:
            text = json.dumps(envelope(path) | keys.get(path.stem, {}), allow_nan=False)
        except Exception as error:  # Whatever a broken pickle raises.
            print(f"{path.name}: {error}", file=sys.stderr)
            failed += 1
            continue
        (given.target / f"{path.stem}.json").write_text(text)
        converted += 1
    print(f"{converted} converted, {failed} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
