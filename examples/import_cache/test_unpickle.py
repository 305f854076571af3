"""What unpickle.py makes of pickles, without pandas: python3 -m unittest discover examples/import_cache"""

import collections
import datetime
import decimal
import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).with_name("unpickle.py")


class Shells:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def converted(caches, keys=()):
    """What files of these names and contents become, what was said of the others, and the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "from").mkdir()
        for name, content in caches.items():
            (directory / "from" / name).write_bytes(content)
        (directory / "keys").write_text("".join(json.dumps(key) + "\n" for key in keys))
        command = [sys.executable, SCRIPT, "--keys", "keys", "from", "to"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        files = {path.name: json.loads(path.read_text()) for path in directory.glob("to/*")}
        assert not (directory / "pwned").exists()
        return files, done.stderr, done.returncode


class Unpickle(unittest.TestCase):
    def test_values_become_json(self):
        utc = datetime.timezone.utc
        value = {
            "float": 0.1,
            "none": float("nan"),
            "large": float("-inf"),
            "list": (1, [True, None]),
            "set": {3, 1},
            "when": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=utc),
            "day": datetime.date(2024, 1, 2),
            "exact": decimal.Decimal("1.10"),
            "deque": collections.deque([1]),
            7: "number",
            ("a", 1): "tuple",
        }
        files, said, code = converted({"x.cache": pickle.dumps(value)})
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
                "deque": [1],
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
        ]
        files, said, code = converted({f"{name}.cache": content, "other.pkl": content}, keys)
        self.assertEqual((said, code), ("", 0))
        times = {"data": [1], "timestamp": 1.5, "expiration": 60}
        key = {"ticker": "AAPL", "data_type": "news", "parameters": {"n": 1}}
        self.assertEqual(files[f"{name}.json"], times | key)
        self.assertEqual(files["other.json"], times | {"ticker": "IBM", "data_type": "news"})

    def test_what_is_not_converted_is_told_and_runs_nothing(self):
        caches = {
            "a": pickle.dumps(Shells()),
            "b": pickle.dumps(1)[:-1],
            "c": b"no pickle",
            "d": pickle.dumps(b"bytes"),
            "e": pickle.dumps({"data": 1, "timestamp": 2}),
        }
        files, said, code = converted(caches)
        self.assertEqual((list(files), code), (["e.json"], 1))
        self.assertEqual([line.split(":")[0] for line in said.splitlines()], ["a", "b", "c", "d"])


if __name__ == "__main__":
    unittest.main()
