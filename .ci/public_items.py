"""Lists what is public, so that a change of the interface shows in a diff.

    python3 .ci/public_items.py          fails where docs/public-items.txt is not what the documentation shows
    python3 .ci/public_items.py --write  writes it

Reads the pages of `cargo doc --no-deps --all-features`: items with their declarations, inherent methods, methods of traits,
and the traits that a type implements by hand or by derive. Blanket and auto traits are left out.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "target" / "doc" / "buffetbot_db"
LIST = ROOT / "docs" / "public-items.txt"
KINDS = {"struct", "enum", "trait", "fn", "type", "constant", "static", "macro", "union"}
OWN, TRAITS = "implementations-list", "trait-implementations-list"


class Page(HTMLParser):
    """Collects the declaration and the signatures of one page."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.taken = None
        self.text = ""
        self.lines = []

    def handle_starttag(self, tag, attributes):
        if tag in ("br", "wbr", "img", "input", "meta", "link", "hr"):
            return
        attributes = dict(attributes)
        self.open.append((tag, attributes.get("id", ""), attributes.get("class", "") or ""))
        if self.taken is not None:
            return
        if tag == "pre" and "item-decl" in self.open[-1][2]:
            self.take("decl")
        elif "code-header" in self.open[-1][2]:
            ids = [id for _, id, _ in self.open if id]
            lists = [id for id in ids if id.endswith("-list") or id.startswith("deref-methods")]
            is_method = any(id.startswith(("method.", "tymethod.", "associated")) for id in ids)
            # The methods of a trait are in no list.
            if is_method and lists in ([OWN], []) and tag == "h4":
                self.take("of")
            elif lists == [TRAITS] and tag == "h3":
                self.take("impl")

    def take(self, kind):
        self.taken, self.text = (kind, len(self.open)), ""

    def handle_endtag(self, tag):
        while self.open:
            depth = len(self.open)
            closed = self.open.pop()[0]
            if self.taken and self.taken[1] == depth:
                self.lines.append((self.taken[0], " ".join(self.text.split())))
                self.taken = None
            if closed == tag:
                return

    def handle_data(self, data):
        # "Show 12 fields" is of the page, not of the item.
        hides = any("toggle" in c or tag == "summary" for tag, _, c in self.open[self.taken[1]:]) if self.taken else True
        if self.taken and not (hides and re.match(r"\s*Show \d+ ", data)):
            self.text += data


def as_written(signature):
    """A signature as it stands in the source, also where `async_trait` has rewritten it."""
    signature = signature.replace("( ", "(").replace(", )", ")")
    found = re.search(r"-> Pin<Box<dyn Future<Output = (.*)> \+ Send \+ 'async_trait>>where .*", signature)
    if not found:
        return signature
    signature = "async " + signature[: found.start()] + "-> " + found.group(1)
    signature = re.sub(r"'(life\d+|async_trait)(, )?", "", signature).replace("<>", "")
    return re.sub(r"& (?=\w|\[)", "&", signature)


def members(declaration):
    """The head of a declaration, and each of its fields or variants."""
    head, opens, body = declaration.partition("{")
    if not opens:
        return [declaration]
    parts, depth, part = [head.strip()], 0, ""
    for letter in body.rpartition("}")[0] + ",":
        depth += {"{": 1, "(": 1, "<": 1, "}": -1, ")": -1, ">": -1}.get(letter, 0)
        if letter == "," and depth <= 0:
            parts.append(part.strip().replace(", }", " }"))
            part, depth = "", 0
        else:
            part += letter
    return [part for part in parts if part]


def items():
    """One line each, sorted."""
    found = set()
    for path in PAGES.rglob("*.html"):
        kind, _, rest = path.name.partition(".")
        if kind not in KINDS or not rest.endswith(".html"):
            continue
        module = "::".join(path.relative_to(PAGES).parts[:-1])
        name = rest.removesuffix(".html").removesuffix("!")
        if module == "schema" or module.startswith("schema::"):
            continue
        page = Page()
        page.feed(path.read_text())
        item = f"{module}::{name}" if module else name
        for taken, text in page.lines:
            # A trait's declaration repeats its methods.
            if taken == "decl" and kind in ("trait", "fn", "constant", "type", "static"):
                found.add(f"{item}: {text.split('{')[0].strip()}")
            elif taken == "decl":
                found.update(f"{item}: {member}" for member in members(text))
            else:
                found.add(f"{item}: {as_written(text)}")
    return sorted(found)


def main():
    if not (PAGES / "all.html").exists():
        sys.exit("no documentation: cargo doc --no-deps --all-features")
    lines = items()
    if "--write" in sys.argv:
        LIST.write_text("\n".join(lines) + "\n")
        return
    listed = LIST.read_text().splitlines() if LIST.exists() else []
    gone, new = sorted(set(listed) - set(lines)), sorted(set(lines) - set(listed))
    for line in gone:
        print(f"- {line}")
    for line in new:
        print(f"+ {line}")
    if gone or new:
        sys.exit("the interface is not that of docs/public-items.txt: python3 .ci/public_items.py --write")
    print(f"{len(lines)} public items, as listed")


main()
