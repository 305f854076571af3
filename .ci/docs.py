"""Checks the documentation: links, anchors, the length of README, and that every guide page is linked and tested.

    python3 .ci/docs.py   fails on a relative link without a file, an anchor without a heading, a page that README does not
                          link, a guide page whose examples src/lib.rs does not test, and a README that is too long
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")]
LONGEST_README = 200


def prose(page):
    """The text without code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text())


def anchors(page):
    """The anchors of the headings, as GitHub makes them."""
    found = {}
    for heading in re.findall(r"(?m)^#+ (.*)$", prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.get(slug, -1) + 1
        found[slug] = count
        if count:
            found[f"{slug}-{count}"] = 0
    return set(found)


def links(page):
    """The relative links of a page, and what each leads to."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield target, (page.parent / path).resolve() if path else page, anchor


def main():
    pages = PAGES + sorted((ROOT / "docs").rglob("*.md"))
    faults, linked = [], {}
    for page in pages:
        name = page.relative_to(ROOT)
        linked[page] = set()
        for target, path, anchor in links(page):
            linked[page].add(path)
            if not path.exists():
                faults.append(f"{name}: no file {target}")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                faults.append(f"{name}: no heading {target}")
    tested = (ROOT / "src" / "lib.rs").read_text()
    for page in pages[len(PAGES):]:
        name = page.relative_to(ROOT)
        if page not in linked[PAGES[0]]:
            faults.append(f"{name}: README.md does not link it")
        if "```rust" in page.read_text() and f'include_str!("../{name}")' not in tested:
            faults.append(f"{name}: src/lib.rs does not test its examples")
    length = len(PAGES[0].read_text().splitlines())
    if length > LONGEST_README:
        faults.append(f"README.md: {length} lines, at most {LONGEST_README}")
    print("\n".join([*faults, f"{len(pages)} pages, {sum(map(len, linked.values()))} links, {len(faults)} faults"]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
