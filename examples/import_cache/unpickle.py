#!/usr/bin/env python3
"""Converts a cache of Python pickles into files that `import_cache --envelopes` reads.

    python3 unpickle.py [--keys KEYS] [--seconds N] [--megabytes N] [--json-megabytes N] FROM TO

A pickle contains what a program has cached, or a dict with it as `data`, with `timestamp` (seconds since
1970) and `expiration` (seconds). Data frames become objects of `columns`, `index` and `data`, series objects
of `name`, `index` and `data`; times become ISO 8601, decimals text, NaN and infinities null. The script needs
neither pandas nor numpy.

KEYS has a JSON object on each line, for caches whose file names are hashes. `name` is the file's name
without its ending, or `call` is the text whose MD5 the name is; `ticker`, `data_type` and `parameters` are
added to the JSON.

A pickle is a program that may name any function. This script resolves only the names on an exact list
(`unpickle_values.py`), and none of them can run, import or write anything that the pickle chooses. Objects of
numpy and pandas are read as data, without these libraries (`unpickle_frames.py` lists the versions tried).
Each file is converted in a process of its own, which cannot write files and is limited in time (--seconds,
30), in memory (--megabytes of address space, 1024) and in what it returns (--json-megabytes, 64, which is
also the most that `import_cache` reads).

For each file that is not converted, its name and the reason are printed, and the exit code is 1; the other
files are converted. Symbolic links and whatever else is not a regular file are not converted; directories
are skipped. Of two files that would become the same JSON file, the second is not converted.

Linux, Python 3.11 or later.
"""

import argparse
import gc
import hashlib
import json
import math
import os
import pathlib
import resource
import select
import signal
import stat
import sys
import time

from unpickle_records import Refused
from unpickle_values import envelope

# Of a reason, which may quote the pickle.
LONGEST_REASON = 300
TOO_LONG = "takes longer than --seconds allows"
# Of a whole reply of the process that converts a file.
END = b"\0"


def lower(limit, value, hard=None):
    """Lowers a limit of this process, which an administrator may have set lower already."""
    most = resource.getrlimit(limit)[1]
    hard = value if hard is None else hard
    if most != resource.RLIM_INFINITY:
        value, hard = min(value, most), min(hard, most)
    resource.setrlimit(limit, (value, hard))


def confine(given):
    """Limits this process, which is to read a pickle."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, 0)
    lower(resource.RLIMIT_NPROC, 0)
    # The parent kills this process earlier, unless the parent itself has been killed.
    lower(resource.RLIMIT_CPU, math.ceil(given.seconds), math.ceil(given.seconds) + 1)
    lower(resource.RLIMIT_AS, int(given.megabytes * 2**20))
    # The process ends before garbage could matter, and looking for it takes a quarter of the time.
    gc.disable()


def reply(path, key, given):
    """The JSON of a file after a "+", or after a "-" the reason why it is not converted."""
    try:
        confine(given)
        # Something else may have taken the file's place since: a link is not followed, a pipe not awaited.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("is not a regular file")
        with open(file, "rb") as pickled:
            value = envelope(pickled, about.st_mtime, given.json_megabytes * 2**20)
        return b"+" + json.dumps(value | key, allow_nan=False).encode()
    except MemoryError:
        return b"-needs more memory than --megabytes allows"
    except RecursionError:
        return b"-is nested too deeply, or contains itself"
    except Exception as error:
        return b"-" + str(error)[:LONGEST_REASON].encode(errors="backslashreplace")


def converted(path, key, given):
    """The JSON of a file, converted in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            rest = memoryview(reply(path, key, given) + END)
            while rest:
                rest = rest[os.write(writer, rest) :]
        finally:
            os._exit(0)
    os.close(writer)
    received, most = bytearray(), int(given.json_megabytes * 2**20) + 2
    end = time.monotonic() + given.seconds
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                raise Refused(TOO_LONG)
            part = os.read(reader, 2**16)
            if not part:
                break
            received += part
            if len(received) > most:
                raise Refused("becomes more JSON than --json-megabytes allows")
    finally:
        os.close(reader)
        # Has no effect on a child that has ended.
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not received.endswith(END):
        ended = os.waitstatus_to_exitcode(status)
        # The limit of the child's own may come first.
        if ended == -signal.SIGXCPU:
            raise Refused(TOO_LONG)
        raise Refused(f"ended the process that converted it ({ended})")
    if received.startswith(b"-"):
        raise Refused(received[1:-1].decode(errors="replace"))
    return received[1:-1]


def write(path, content):
    """Writes a whole file or none, and replaces a link instead of following it."""
    part = path.with_name(f".unpickle-{os.getpid()}")
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def keys_of(path):
    keys = {}
    for number, line in enumerate(path.read_text().splitlines() if path else [], 1):
        if line.strip():
            try:
                key = json.loads(line)
                name, call = key.pop("name", None), key.pop("call", None)
                keys[name or hashlib.md5(call.encode()).hexdigest()] = key
            except (AttributeError, TypeError, ValueError):
                sys.exit(f"{path}: line {number} is not an object with a name or a call")
    return keys


def shown(text):
    """`text` on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def limit(text):
    number = float(text)
    if not 0 < number < 2**20:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=pathlib.Path)
    parser.add_argument("--seconds", type=limit, default=30, help="time for each file (30)")
    parser.add_argument("--megabytes", type=limit, default=1024, help="memory for each file (1024)")
    parser.add_argument("--json-megabytes", type=limit, default=64, help="JSON of each file (64)")
    parser.add_argument("source", metavar="FROM", type=pathlib.Path)
    parser.add_argument("target", metavar="TO", type=pathlib.Path)
    given = parser.parse_args()
    keys = keys_of(given.keys)
    given.target.mkdir(parents=True, exist_ok=True)
    written, failed = {}, 0
    for path in sorted(given.source.iterdir()):
        target = given.target / f"{path.stem}.json"
        try:
            if path.is_symlink():
                raise Refused("is a symbolic link")
            if path.is_dir():
                continue
            if target in written:
                raise Refused(f"would replace what {written[target]} became")
            write(target, converted(path, keys.get(path.stem, {}), given))
            written[target] = path.name
        except (OSError, Refused) as error:
            print(f"{shown(path.name)}: {shown(str(error))}", file=sys.stderr)
            failed += 1
    print(f"{len(written)} converted, {failed} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
