"""Checks that imports run downwards only, by the table of layers, and draws it.

    python3 .ci/layers.py          fails on an arrow that runs up, on one between folders of a layer that is not listed,
                                   and where the drawing in docs/ is not that of the source
    python3 .ci/layers.py --draw   writes docs/architecture.svg
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
DRAWING = ROOT / "docs" / "architecture.svg"

# From the top down. A folder imports from the rows below its own.
LAYERS = [
    ("what a program has in scope", ["prelude"]),
    ("tests and tools", ["testing"]),
    ("files", ["import"]),
    ("the handles", ["database"]),
    ("roles and policies", ["tenancy"]),
    ("cache", ["cache"]),
    ("domains of accounts", ["portfolios", "analyses", "users"]),
    ("domains of market data", ["prices", "options", "market_cache"]),
    ("what has changed", ["audit", "events"]),
    ("what repositories share", ["store"]),
    ("the database", ["postgres", "schema"]),
    ("its settings, and a private server", ["config", "embedded"]),
    ("passwords", ["passwords"]),
    ("values", ["types"]),
    ("what can go wrong", ["error"]),
]
# Within a row: who may import from whom.
SIDEWAYS = {("analyses", "portfolios")}
# Rooms within a folder, from the top down as well.
ROOMS = {
    "prices": [
        ["pg", "repository"],
        ["storing", "partitions", "series"],
        ["reading"],
        ["actions", "calendar"],
        ["bars"],
    ],
}


def parse(tree, prefix=()):
    """The paths of a `use` tree."""
    tree = tree.strip()
    if tree.startswith("{"):
        depth, item, paths = 0, "", []
        for letter in tree[1:-1] + ",":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                paths += parse(item, prefix) if item.strip() else []
                item = ""
            else:
                item += letter
        return paths
    head, separator, rest = tree.partition("::")
    if separator:
        return parse(rest, (*prefix, head.strip()))
    return [(*prefix, head.split(" as ")[0].strip())]


def code(path):
    """The file without comments, strings and test modules."""
    text = path.read_text()
    text = re.split(r"#\[cfg\((?:all\()?test\b", text)[0]
    return re.sub(r"(?m)^\s*//.*$|(?<=\s)//.*$", "", text)


def module(path):
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return tuple(parts[:-1] if parts[-1] == "mod" else parts)


def exports():
    """Where the names come from that `crate::` has at its root."""
    names = {}
    for paths in re.findall(r"(?m)^pub (?:\(crate\) )?use ([^;]*);", code(SOURCE / "lib.rs")):
        for path in parse(paths):
            if path[-1] == "*":
                room = code(SOURCE / path[0] / "mod.rs")
                for inner in re.findall(r"(?m)^pub use ([^;]*);", room):
                    names.update({name[-1]: (path[0], *name) for name in parse(inner)})
            else:
                names[path[-1]] = path
    return names


def paths_of(text, me):
    """The modules of this crate that a text names, as absolute paths."""
    found = []
    used = re.findall(r"(?m)^\s*(?:pub(?:\([a-z: ]+\))? )?use ((?:crate|super|self)::[^;]*);", text)
    for tree in used:
        found += parse(tree)
    inline = re.sub(r"(?ms)^\s*(?:pub(?:\([a-z: ]+\))? )?use [^;]*;", "", text)
    found += [tuple(path.split("::")) for path in re.findall(r"\b(?:crate|super)(?:::\w+)+", inline)]
    for path in found:
        if path[0] == "crate":
            yield path[1:]
        elif path[0] == "super":
            up = len(path) - len([part for part in path if part != "super"])
            yield (*me[: max(len(me) - up, 0)], *path[up:])


def arrows():
    """Every import of one folder from another, and of one room from another, with the files that have it."""
    folders = {name for _, row in LAYERS for name in row}
    roots = exports()
    between, within = defaultdict(set), defaultdict(set)
    for path in sorted(SOURCE.rglob("*.rs")):
        me = module(path)
        if not me or path.name == "lib.rs" or "tests" in me:
            continue
        if me[0] not in folders:
            sys.exit(f"src/{me[0]} is in no layer: add it to LAYERS in .ci/layers.py")
        for target in paths_of(code(path), me):
            if target and target[0] not in folders:
                target = roots.get(target[0], target)
            if not target or target[0] not in folders:
                continue
            if target[0] != me[0]:
                between[me[0], target[0]].add(str(path.relative_to(ROOT)))
            elif me[0] in ROOMS and len(me) > 1 and len(target) > 1 and me[1] != target[1]:
                within[me[0], me[1], target[1]].add(str(path.relative_to(ROOT)))
    return between, within


def wrong(between, within):
    row = {name: number for number, (_, names) in enumerate(LAYERS) for name in names}
    for (source, target), files in sorted(between.items()):
        if row[source] > row[target]:
            yield f"{source} imports from {target}, which is above it: {', '.join(sorted(files))}"
        elif row[source] == row[target] and (source, target) not in SIDEWAYS:
            yield f"{source} imports from {target}, which is beside it: {', '.join(sorted(files))}"
    for (folder, source, target), files in sorted(within.items()):
        rooms = {name: number for number, names in enumerate(ROOMS[folder]) for name in names}
        if source in rooms and target in rooms and rooms[source] >= rooms[target]:
            yield f"{folder}/{source} imports from {folder}/{target}: {', '.join(sorted(files))}"


def draw(between):
    """The rows as an SVG: a folder is a box, an import a line from its lower to the upper edge."""
    width, height, gap, box = 880, 44, 34, 118
    place, parts = {}, []
    for number, (title, names) in enumerate(LAYERS):
        top = 16 + number * (height + gap)
        parts.append(f'<rect x="8" y="{top - 8}" width="{width - 16}" height="{height + 16}" rx="6" fill="#f3f5f8"/>')
        parts.append(f'<text x="20" y="{top + 26}" fill="#5b6673">{title}</text>')
        left = 300 + (width - 320 - len(names) * (box + 24)) / 2
        for index, name in enumerate(names):
            place[name] = (left + index * (box + 24), top)
    lines = []
    for source, target in sorted(between):
        (x1, y1), (x2, y2) = place[source], place[target]
        if y1 < y2:
            a, b = x1 + box / 2, x2 + box / 2
            bend = (y2 - y1) / 2
            lines.append(
                f'<path d="M{a:g} {y1 + height} C{a:g} {y1 + height + bend:g} {b:g} {y2 - bend:g} {b:g} {y2}"'
                ' fill="none" stroke="#2f6fb0" stroke-opacity="0.28"/>'
            )
    for name, (x, y) in place.items():
        lines.append(f'<rect x="{x:g}" y="{y}" width="{box}" height="{height}" rx="5" fill="#fff" stroke="#2f6fb0"/>')
        lines.append(f'<text x="{x + box / 2:g}" y="{y + 27}" text-anchor="middle" fill="#16202b">{name}</text>')
    tall = 16 + len(LAYERS) * (height + gap)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tall}" width="{width}" height="{tall}"'
        ' font-family="ui-monospace, monospace" font-size="14">\n'
        f'<rect width="{width}" height="{tall}" fill="#fff"/>\n' + "\n".join(parts + lines) + "\n</svg>\n"
    )


def main():
    between, within = arrows()
    faults = list(wrong(between, within))
    for fault in faults:
        print(fault)
    drawing = draw(between)
    if "--draw" in sys.argv:
        DRAWING.write_text(drawing)
    elif not DRAWING.exists() or DRAWING.read_text() != drawing:
        faults.append("docs/architecture.svg is outdated: python3 .ci/layers.py --draw")
        print(faults[-1])
    print(f"{len(between)} imports between folders, {len(faults)} wrong")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
