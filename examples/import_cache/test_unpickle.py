"""Tests of unpickle.py, without pandas: python3 -m unittest discover examples/import_cache"""

import base64
import collections
import datetime
import decimal
import hashlib
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid
import zlib

SCRIPT = pathlib.Path(__file__).with_name("unpickle.py")
# Small enough for the tests to be quick.
OPTIONS = ("--megabytes", "400", "--json-megabytes", "0.2")
# These stand for libraries with functions that run what a pickle chooses.
LIBRARIES = {
    "numpy/__init__.py": """
import os, sys
open("pwned-numpy-imported", "w").close()
sys.modules["numpy.os"] = os
class dtype:
    def __init__(self, *args): pass
    def __setstate__(self, state): open("pwned-state", "w").close()
""",
    "numpy/testing.py": "def runstring(text, names): exec(text, names)",
    "numpy/core.py": "import os",
    "pandas/__init__.py": """
import pickle, os
class DataFrame:
    def __init__(self, data=None): open("pwned-frame", "w").close()
    def to_json(self, **options): return os.system("touch pwned-json") or "1"
def read_pickle(path): return pickle.load(open(path, "rb"))
def eval(text): return __builtins__["eval"](text)
class NaT:
    @staticmethod
    def isoformat(): return os.system("touch pwned-format") or ""
""",
    "pyarrow.py": "from os import system",
}


def text(value):
    """The opcode of a string."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def named(module, name):
    """The opcodes of a function or class by its name, as protocol 4 writes it."""
    return text(module) + text(name) + b"\x93"


def value(opcodes):
    """The opcodes of a value that pickle writes itself."""
    return pickle.dumps(opcodes, protocol=2)[2:-1]


def called(module, name, *arguments):
    return named(module, name) + b"(" + b"".join(map(value, arguments)) + b"tR"


def dtype(letters, *state):
    """The opcodes of a numpy dtype."""
    return called("numpy", "dtype", letters, False, True) + value((3, *state)) + b"b"


def whole(opcodes):
    return b"\x80\x04" + opcodes + b"."


def doubled(times, first, pair):
    """A pickle in which each value contains the one before twice."""
    parts = [b"\x80\x04", first, b"q\x00"]
    for number in range(times):
        parts.append(pair(b"h" + bytes([number])) + b"q" + bytes([number + 1]))
    return b"".join(parts)


def converted(caches, keys=(), options=OPTIONS, prepare=lambda directory: None):
    """What files of these names and contents become, what is printed of the others, and the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "from").mkdir()
        for name, content in caches.items():
            (directory / "from" / name).write_bytes(content)
        for name, content in LIBRARIES.items():
            (directory / "libraries" / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / "libraries" / name).write_text(content)
        (directory / "keys").write_text("".join(json.dumps(key) + "\n" for key in keys))
        prepare(directory)
        command = [sys.executable, SCRIPT, "--keys", "keys", *options, "from", "to"]
        environment = os.environ | {"PYTHONPATH": str(directory / "libraries")}
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=30
        )
        pwned = sorted(path.name for path in directory.glob("**/pwned*"))
        assert not pwned, f"a pickle has run code: {pwned}; {done.stderr}"
        files = {path.name: json.loads(path.read_text()) for path in directory.glob("to/*")}
        return files, done.stderr, done.returncode


class Values(unittest.TestCase):
    maxDiff = None

    def test_values_become_json(self):
        utc = datetime.timezone.utc
        given = {
            "float": 0.1,
            "none": float("nan"),
            "large": float("-inf"),
            "list": (1, [True, None]),
            "set": {3, 1},
            "when": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=utc),
            "day": datetime.date(2024, 1, 2),
            "exact": decimal.Decimal("1.10"),
            "no decimal": decimal.Decimal("nan"),
            "large decimal": decimal.Decimal("1E1000000"),
            "deque": collections.deque([1]),
            "id": uuid.UUID(int=7),
            7: "number",
            ("a", 1): "tuple",
        }
        files, said, code = converted({"x.cache": pickle.dumps(given)}, options=())
        self.assertEqual((said, code), ("", 0))
        self.assertEqual(
            files["x.json"]["data"],
            {
                "float": 0.1,
                "none": None,
                "large": None,
                "list": [1, [True, None]],
                "set": [1, 3],
                "when": "2024-01-02T03:04:05+00:00",
                "day": "2024-01-02",
                "exact": "1.10",
                "no decimal": None,
                "large decimal": "1E+1000000",
                "deque": [1],
                "id": "00000000-0000-0000-0000-000000000007",
                "7": "number",
                "a, 1": "tuple",
            },
        )
        self.assertGreater(files["x.json"]["timestamp"], 1.7e9)

    def test_envelopes_keep_their_times_and_hashes_get_their_keys(self):
        content = pickle.dumps({"data": [1], "timestamp": 1.5, "expiration": 60, "hits": 3})
        name = hashlib.md5(b"fetch|AAPL").hexdigest()
        keys = [
            {"call": "fetch|AAPL", "ticker": "AAPL", "data_type": "news", "parameters": {"n": 1}},
            {"name": "other", "ticker": "IBM", "data_type": "news"},
            {"name": "../../escaped", "ticker": "IBM", "data_type": "news"},
        ]
        files, said, code = converted({f"{name}.cache": content, "other.pkl": content}, keys)
        self.assertEqual((said, code), ("", 0))
        times = {"data": [1], "timestamp": 1.5, "expiration": 60}
        key = {"ticker": "AAPL", "data_type": "news", "parameters": {"n": 1}}
        self.assertEqual(files[f"{name}.json"], times | key)
        self.assertEqual(files["other.json"], times | {"ticker": "IBM", "data_type": "news"})
        self.assertEqual(len(files), 2)

    def test_frames_of_several_versions_of_pandas_become_the_same(self):
        lines = SCRIPT.with_name("pickled_frames.tsv").read_text().splitlines()
        for line in lines:
            version, content = line.split("\t")
            with self.subTest(version):
                content = zlib.decompress(base64.b85decode(content))
                files, said, code = converted({"x.pkl": content})
                self.assertEqual((said, code), ("", 0))
                self.assertEqual(files["x.json"]["data"], FRAMES)

    def test_objects_of_an_array_are_listed_row_by_row(self):
        array = named("numpy.core.multiarray", "_reconstruct") + b")R(" + value(1) + value((2, 2))
        # The array was in Fortran order.
        array += (
            dtype("O8", "|", None, None, None, -1, -1, 63) + value(True) + value(["a", "b", "c", "d"]) + b"tb"
        )
        files, said, code = converted({"x": whole(array)})
        self.assertEqual((said, code), ("", 0))
        self.assertEqual(files["x.json"]["data"], [["a", "b"], ["c", "d"]])

    def test_two_keys_that_become_one_are_not_converted(self):
        files, said, code = converted({"x": pickle.dumps({1: "a", "1": "b"}), "y": pickle.dumps({1: 2})})
        self.assertEqual((list(files), code), (["y.json"], 1))
        self.assertIn("x: contains two keys that become '1'", said)


class A7(unittest.TestCase):
    """Files that are not converted. Each must leave a file beside it unharmed."""

    def refused(self, caches, reasons=None, **options):
        """Asserts that each of the files is refused, for its reason in `reasons`."""
        given = caches | {"~good": pickle.dumps({"good": 1})}
        files, said, code = converted(given, **options)
        self.assertEqual((list(files), code), (["~good.json"], 1), said)
        said = dict(line.split(": ", 1) for line in said.splitlines())
        self.assertEqual(sorted(said), sorted(caches))
        for name, reason in (reasons or {}).items():
            self.assertRegex(said[name], reason, name)
        return said

    def test_what_is_broken_or_of_another_class(self):
        self.refused(
            {
                "bytes": pickle.dumps(b"bytes"),
                "complex": whole(called("builtins", "complex", 1, 2)),
                "cut": pickle.dumps(1)[:-1],
                "empty": b"",
                "no pickle": b"no pickle",
                "slice": pickle.dumps(slice(1)),
            }
        )

    def test_names_that_run_code(self):
        nested = whole(called("os", "system", "touch pwned-nested"))
        caches = {
            "alias": whole(called("numpy.os", "system", "touch pwned-alias")),
            "attribute": whole(called("numpy.core", "os.system", "touch pwned-attribute")),
            "calls": whole(called("pandas", "eval", "__import__('os').system('touch pwned-calls')")),
            "class": whole(called("pandas", "DataFrame.__init__.__globals__.get", "os")),
            "dotted": whole(called("numpy", "os.system", "touch pwned-dotted")),
            "exec": whole(called("numpy.testing", "runstring", "open('pwned-exec', 'w')", {})),
            "module": whole(named("numpy", "os")),
            "old": b"cnumpy.core\nos.system\n(S'touch pwned-old'\ntR.",
            "pickle": whole(called("pandas", "read_pickle", "nested")),
            "plain": nested,
            "pyarrow": whole(called("pyarrow", "system", "touch pwned-pyarrow")),
            "static": whole(named("pandas", "NaT")),
        }
        for pair in """builtins.eval builtins.exec builtins.range builtins.type builtins.object
                builtins.__import__ copyreg._reconstructor copyreg.__newobj__ functools.partial
                operator.attrgetter operator.methodcaller importlib.import_module numpy.load numpy.memmap numpy.ndarray.tofile
                numpy.core.multiarray.scalar.__class__ pandas.DataFrame.to_pickle datetime.datetime.__reduce__
                collections.deque.extend zoneinfo.ZoneInfo._unpickle zoneinfo.ZoneInfo.from_file
                decimal.Decimal.__class__ uuid.os pickle.loads unpickle_frames.Record""".split():
            module, name = pair.split(".", 1)
            caches[pair] = whole(named(module, name) + b")R")
            caches[f"{pair} split late"] = whole(named(*pair.rsplit(".", 1)) + b")R")
        said = self.refused(caches, prepare=lambda directory: (directory / "nested").write_bytes(nested))
        for name, reason in said.items():
            self.assertRegex(reason, "^contains a .*, which is not converted$", name)

    def test_getattr_gives_nothing_but_time_zones(self):
        def getattr_of(owner, name):
            return named("builtins", "getattr") + b"(" + owner + text(name) + b"tR"

        zone = named("zoneinfo", "ZoneInfo")
        find = getattr_of(zone, "_unpickle")
        self.refused(
            {
                "class": whole(getattr_of(zone, "__class__")),
                "function": whole(getattr_of(find, "__globals__")),
                "listed": whole(getattr_of(named("builtins", "set"), "__class__")),
                "name": whole(getattr_of(zone, "_unpickle.__globals__")),
                "path": whole(find + b"(" + text("../../../../etc/passwd") + b"tR"),
                "absolute": whole(find + b"(" + text("/etc/localtime") + b"tR"),
                "package": whole(find + b"(" + text("os.path/x") + b"tR"),
                "pytz": whole(called("pytz", "_p", "../pwned")),
            },
            {"path": "time zone", "absolute": "time zone", "package": "time zone", "pytz": "time zone"},
        )

    def test_states_change_nothing_but_data(self):
        # numpy would take the bytes of an array of this dtype for the address of an object.
        forged = dtype("V8", "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 0)
        array = named("numpy.core.multiarray", "_reconstruct") + b"(" + named("numpy", "ndarray")
        array += value((0,)) + value("b") + b"tR(" + value(1) + value((1,)) + forged
        array += value(False) + b"C\x08AAAAAAAAtb"

        def slots(target, name):
            return target + b"(N" + value({name: 1}) + b"tb"

        self.refused(
            {
                "array": whole(array),
                "class": whole(slots(named("uuid", "UUID"), "__str__")),
                "frame": whole(named("pandas", "DataFrame") + b")\x81" + value({"_mgr": {}}) + b"b"),
                "frame of args": whole(called("pandas", "DataFrame", [1])),
                "frame of itself": whole(
                    named("pandas", "DataFrame") + b")\x81q\x00}" + text("_mgr") + b"h\x00sb"
                ),
                "function": whole(slots(named("pytz", "_p"), "function")),
                "function's dict": whole(named("builtins", "getattr") + value({"function": 1}) + b"b"),
                "keywords": whole(named("pandas", "DataFrame") + b")" + value({"data": 1}) + b"\x92"),
                "record": whole(slots(named("pandas", "DataFrame"), "__new__")),
                "static": whole(slots(named("decimal", "Decimal"), "__str__")),
                "uuid": whole(named("uuid", "UUID") + b")\x81"),
            },
            {"array": "dtype V8", "function": "state"},
        )
        # Attributes of an instance do not replace its methods.
        ordered = whole(called("collections", "OrderedDict") + value({"items": 1, "keys": 2}) + b"b")
        files, said, code = converted({"x": ordered})
        self.assertEqual((files["x.json"]["data"], said, code), ({}, "", 0))

    def test_other_opcodes_give_no_function(self):
        self.refused(
            {
                "append": whole(named("pandas", "DataFrame") + b")R" + value(1) + b"a"),
                "buffer": whole(b"\x97"),
                "extension 1": whole(b"\x82\x01"),
                "extension 4": whole(b"\x84\x01\x00\x00\x00"),
                "instance": b"(S'touch pwned'\nios\nsystem\n.",
                "item": whole(named("pandas", "DataFrame") + b")R" + value("a") + value(1) + b"s"),
                "none called": whole(named("pandas", "NA") + b")R"),
                "object": b"(cos\nsystem\nS'touch pwned'\no.",
                "persistent": whole(value(1) + b"Q"),
                "persistent text": b"Pos.system\n.",
                "record called": whole(named("pandas", "DataFrame") + b")R)R"),
            }
        )

    def test_more_json_than_allowed(self):
        array = named("numpy.core.numeric", "_frombuffer") + b"(C\x00"
        array += dtype("f8", "<", None, None, None, -1, -1, 0) + value((10**9, 0)) + value("C") + b"tR"
        index = named("pandas.core.indexes.base", "_new_Index") + b"(" + named("pandas", "RangeIndex")
        index += value({"start": 0, "stop": 10**9, "step": 1, "name": None}) + b"tR"
        lists = doubled(40, b"]", lambda inner: b"](" + inner + inner + b"e")
        dicts = doubled(40, b"]", lambda inner: b"}(K\x01" + inner + b"K\x02" + inner + b"u")
        long = text("x" * 5000) + b"q\x00(" + b"h\x00" * 5000 + b"l"
        caches = {"array": whole(array), "dicts": dicts + b".", "index": whole(index), "lists": lists + b"."}
        self.refused(caches | {"long": whole(long)}, dict.fromkeys(caches, "json-megabytes"))

    def test_nothing_takes_longer_than_allowed(self):
        # The hash of a tuple is computed each time anew.
        tuples = doubled(60, b")", lambda inner: inner * 2 + b"\x86")
        tuples += b"0" * 60 + b"}h" + bytes([60]) + b"K\x01s."
        # These numbers have one hash, so that each is compared with all others.
        numbers = value([number * (2**61 - 1) for number in range(1, 100_000)])
        self.refused(
            {"tuples": tuples, "numbers": whole(named("builtins", "set") + b"(" + numbers + b"tR")},
            dict.fromkeys(["numbers", "tuples"], "--seconds"),
            options=("--seconds", "2"),
        )

    def test_nothing_takes_more_memory_than_allowed(self):
        copy = named("builtins", "set") + b"(h\x00tR"
        copies = value(list(range(10_000))) + b"0(" + copy * 3000
        self.refused(
            {
                "bytearray": whole(called("builtins", "bytearray", 10**12)),
                "copies": whole(copies + b"l"),
                "memo": whole(b"K\x01r\xff\xff\xff\x0f"),
            },
            {"bytearray": "of an unknown form", "copies": "--megabytes", "memo": "--megabytes"},
        )

    def test_sizes_that_are_not_there(self):
        huge = struct.pack("<Q", 2**62)
        caches = {
            "bytes": whole(b"\x8e" + huge + b"x"),
            "bytearray": whole(b"\x96" + huge + b"x"),
            "frame": whole(b"\x95" + huge + b"x"),
            "long": whole(b"\x8b\xff\xff\xff\x7f" + b"x"),
            "text": whole(b"\x8d" + huge + b"x"),
        }
        digits = b"\x8b" + struct.pack("<I", 100_000) + b"\x7f" * 100_000
        caches |= {"number": whole(digits), "number as text": b"I" + b"9" * 100_000 + b"\n."}
        self.refused(caches, {"number": "4300 digits"})

    def test_values_that_contain_themselves_or_go_too_deep(self):
        deep = 300_000
        self.refused(
            {
                "deep": whole(b"]" * deep + b"a" * (deep - 1)),
                "dict of itself": whole(b"}q\x00" + text("a") + b"h\x00s"),
                "key": whole(b"})" + b"\x85" * 1_000_000 + b"K\x01s"),
                "list of itself": whole(b"]q\x00h\x00a"),
                "state of itself": whole(
                    named("numpy.core.multiarray", "_reconstruct") + b")R" + b"q\x00(K\x01)h\x00K\x00h\x00tb"
                ),
            },
            dict.fromkeys(["deep", "dict of itself", "list of itself"], "too deeply, or contains itself"),
        )

    def test_links_and_pipes_are_not_read(self):
        def prepare(directory):
            (directory / "outside").write_bytes(pickle.dumps(1))
            (directory / "from/link").symlink_to(directory / "outside")
            (directory / "from/broken").symlink_to(directory / "nowhere")
            os.mkfifo(directory / "from/pipe")
            (directory / "from/directory").mkdir()

        files, said, code = converted({"good": pickle.dumps(1)}, prepare=prepare)
        self.assertEqual((list(files), code), (["good.json"], 1))
        self.assertEqual(
            said.splitlines(),
            ["broken: is a symbolic link", "link: is a symbolic link", "pipe: is not a regular file"],
        )

    def test_a_link_is_replaced_and_not_written_through(self):
        opened = []

        def prepare(directory):
            (directory / "keep").write_text("kept")
            (directory / "to").mkdir()
            (directory / "to/x.json").symlink_to(directory / "keep")
            # It is read after the directory has gone.
            opened.append((directory / "keep").open())
            self.addCleanup(opened[0].close)

        files, said, code = converted({"x": pickle.dumps(1)}, prepare=prepare)
        self.assertEqual((files["x.json"]["data"], said, code, opened[0].read()), (1, "", 0, "kept"))

    def test_two_files_of_one_name_do_not_replace_each_other(self):
        files, said, code = converted({"x.a": pickle.dumps(1), "x.b": pickle.dumps(2)})
        self.assertEqual((files["x.json"]["data"], code), (1, 1))
        self.assertEqual(said, "x.b: would replace what x.a became\n")

    def test_a_name_cannot_forge_what_is_printed(self):
        caches = {"a\nb: \x1b[2J": whole(called("c\nd: \x1b[2J", "e" * 10_000))}
        files, said, code = converted(caches)
        self.assertEqual((files, code, said.count("\n"), said.isascii()), ({}, 1, 1, True))
        self.assertNotIn("\x1b", said)
        self.assertLess(len(said), 500)

    def test_a_process_that_misbehaves_is_ended(self):
        faults = {
            "ends": "os._exit(0)",
            "killed": "os.kill(os.getpid(), 9)",
            "loops": "any(iter(int, 1))",
            "remembers": "b'x' * 10**9",
            "sleeps": "time.sleep(60)",
            "writes": "os.write(os.open('pwned', os.O_CREAT | os.O_WRONLY), b'x')",
        }
        lines = [f"def {name}(): {code}" for name, code in faults.items()]
        driver = "\n".join(
            [
                "import os, sys, time",
                f"sys.path.insert(0, {str(SCRIPT.parent)!r})",
                "import unpickle",
                *lines,
                "unpickle.envelope = lambda pickled, *_: globals()[pickled.read().decode()]()",
                "sys.argv = ['unpickle', '--seconds', '1', '--megabytes', '400', 'from', 'to']",
                "sys.exit(unpickle.main())",
            ]
        )
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            (directory / "from").mkdir()
            for name in faults:
                (directory / "from" / name).write_text(name)
            command = [sys.executable, "-c", driver]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=30)
            said = dict(line.partition(": ")[::2] for line in done.stderr.splitlines())
            self.assertEqual((list(said), done.returncode), (sorted(faults), 1), done.stderr)
            for name, reason in {
                "ends": "ended the process",
                "killed": "ended the process .*-9",
                "loops": "--seconds",
                "remembers": "--megabytes",
                "sleeps": "--seconds",
                "writes": "too large",
            }.items():
                self.assertRegex(said[name], reason, name)
            written = directory / "pwned"
            self.assertFalse(written.exists() and written.stat().st_size)
            self.assertEqual(list(directory.glob("to/*")), [])


FRAMES = {
    "hist": {
        "columns": ["Close", "Volume", "Note"],
        "index": ["2024-03-08T21:00:00.000Z", "2024-03-09T21:00:00.000Z", "2024-03-10T20:00:00.000Z"],
        "data": [[1.5, 10, "a"], [None, 20, None], [0.1, 30, "ü"]],
    },
    "multi": {"columns": [["AAPL", "Open"], ["IBM", "Open"]], "index": [0], "data": [[1.5, 2.0]]},
    "every": {
        "columns": ["class", "count", "quarter", "time", "took", "flag", "other"],
        "index": ["(0, 1]", "(1, 2]", "(2, 3]"],
        "data": [
            ["x", 1, "2024Q1", "2024-01-02T03:04:05.678901", "P1DT2H0M0S", True, {"a": [1]}],
            [None, None, "2024Q2", None, None, False, "2024-01-02T00:00:00-05:00"],
            ["x", 3, "2024Q3", "2024-01-03T00:00:00.000", "P-1DT23H59M57S", True, None],
        ],
    },
    "row": {
        "name": "Volume",
        "index": ["2024-03-08T21:00:00.000Z", "2024-03-09T21:00:00.000Z", "2024-03-10T20:00:00.000Z"],
        "data": [10, 20, 30],
    },
    "when": "2024-03-08T16:00:00-05:00",
    "none": None,
    "array": [[0, 1, 2], [3, 4, 5]],
    "numbers": [0.5, 3, True, "a"],
    "texts": ["a", "bcü"],
    "day": "2024-01-02",
    "keys": {"2024-01-02T00:00:00": 1},
    "month": "2024-01",
    "labels": [["AAPL", "Open"], ["IBM", "Open"]],
}


if __name__ == "__main__":
    unittest.main()
