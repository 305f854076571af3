"""Checks the locked dependencies: licences, the promised Rust version, no foreign libraries."""

import json
import subprocess
import sys

ALLOWED = {
    "MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC",
    "Unicode-3.0", "Zlib", "0BSD", "CDLA-Permissive-2.0", "Unlicense", "MIT-0", "BSL-1.0", "CC0-1.0",
}
# Bindings to C libraries that a pure Rust build must not have.
FOREIGN = {"pq-sys", "openssl-sys", "aws-lc-sys", "mysqlclient-sys", "libsqlite3-sys"}


def alternatives(expression):
    """The licences any one of which suffices, each a list of those that hold together."""
    expression = expression.replace("(", " ").replace(")", " ").replace("/", " OR ")
    return [[part.strip() for part in choice.split(" AND ")] for choice in expression.split(" OR ")]


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


def main():
    metadata = json.loads(subprocess.check_output(
        ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]))
    root = next(p for p in metadata["packages"] if p["id"] == metadata["resolve"]["root"])
    used = shipped(metadata, root["id"])
    problems = []
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        licence = package.get("license") or ""
        # `A AND (B OR C)` needs A too: split so, it passes only if every part is allowed anyway.
        if not any(all(part in ALLOWED for part in choice) for choice in alternatives(licence)):
            problems.append(f"{name}: licence {licence!r}")
        if package["id"] in used:
            needed = package.get("rust_version")
            if needed and version(needed) > version(root["rust_version"]):
                problems.append(f"{name}: needs Rust {needed}, promised {root['rust_version']}")
            if package["name"] in FOREIGN:
                problems.append(f"{name}: not a pure Rust build")
    print(f"{len(metadata['packages'])} packages, {len(used)} in the library")
    if problems:
        sys.exit("\n".join(problems))


def shipped(metadata, root):
    """The packages in the library itself, without those for tests and benchmarks."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, todo = set(), [root]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            normal = any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    return found


main()
