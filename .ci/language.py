"""Checks the wording of comments, documentation and messages against a table of turns that a reader would have to translate.

    python3 .ci/language.py   prints file:line, the turn and a better wording, and fails where there is one

Checked are the comments and strings of src/ (without the generated schema.rs and without SQL), docs/, README.md,
CONTRIBUTING.md and CHANGELOG.md. Code in backticks is left out, and so are the generated parts of docs/schema.md.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A turn, as a regular expression in which a space also matches the end of a line, and what to write instead. A turn with a
# group `fine` that matches is allowed.
TURNS = [
    (r"(she|her|hers|his)", "the user, the user's; they, their"),
    (r"whoever", "the caller that; any program that"),
    (r"nobody's", "without a user; not owned"),
    (r"nobody (knows|tells)", "it is unknown"),
    (r"of (your|one's|his|her) own", "your; a separate"),
    (r"(tells?|told|telling)", "report, notify, show, say, distinguish"),
    (r"(is|are|was|were) none(?! of)", "does not exist; is not a ..."),
    (r"(?P<fine>there )?(is|are|was|were) no (?!longer|less|more|worse|better|greater|larger|nearer|earlier|later|other|such)[\w-]+", "is not a ..."),
    (r"none (is|was)", "there is no ...; if it does not exist"),
    (r"none of them matches", "an empty list matches"),
    (r"whether (there (was|were|is|are) (one|any|some)|it was there)", "Returns `false` if it did not exist."),
    (r"without a word", "silently; implicitly"),
    (r"(is|as) no error", "is not an error; idempotent"),
    (r"(puts?|putting) (\w+ )?off", "delay; back off"),
    (r"for ever", "forever; never ends, never expires"),
    (r"of which", "whose; of these"),
    (r"(go|goes|going|went|gone) on", "continue; resume"),
    (r"who (asks|waits|takes|tries|does|never|wants)(?= )", "a caller that"),
    (r"(has|have|had) no words? for", "cannot represent; cannot express"),
    (r"(next|last|server's) word", "message; answer"),
    (r"word for", "alias of"),
    (r"in all else", "otherwise"),
    (r"of (one|a) moment", "one consistent snapshot"),
    (r"a look", "a check; a query; a poll"),
    (r"anew", "again"),
    (r"(to|time) come(?= counts| or later|,|\.|;|$)", "future"),
    (r"behind (it|them|which|the point)", "after it"),
    (r"(comes?|came|becomes?) of (it|that|them)", "result; happens to"),
    (r"mend(s|ed|ing)?", "fix; repair"),
    (r"(take|takes|taken|took) in", "include; accept"),
    (r"and (its|their|the) like", "and similar"),
    (r"fit to be served", "may be served"),
    (r"for so long", "for this long"),
    (r"so long (after|ago)", "this long after, this long ago"),
    (r"(as it is|as they are) then", "the updated ..."),
    (r"whether it was (not|still)", "Returns `false` if ..."),
    (r"of now", "present; now"),
    (r"be brief", "it should return quickly"),
    (r"a say in", "options for"),
]
FLAGS = re.IGNORECASE
COMPILED = [(re.compile(r"(?<![\w-])" + turn.replace(" ", r"\s+") + r"(?![\w-])", FLAGS), better) for turn, better in TURNS]
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|CREATE|ALTER|DROP|SET|COPY|FROM|GRANT|JOIN|COLLATE|ROLLBACK|RELEASE)\b")
RUST = re.compile(
    r'(?P<comment>//[^\n]*)|(?P<block>/\*.*?\*/)|r(?P<hashes>#*)"(?P<raw>.*?)"(?P=hashes)'
    r'|"(?P<text>(?:\\.|[^"\\])*)"|\'(?:\\.[^\']*|[^\'\\])\'',
    re.DOTALL,
)


def blank(text):
    """Stands for what is not prose: of the same length and with the same lines, and no turn reaches across it."""
    return re.sub(r"[^\n]", "\0", text)


def without_code(text):
    return re.sub(r"`[^`\n]*`", lambda code: blank(code[0]), text)


def of_rust(text):
    prose, end = [], 0
    for token in RUST.finditer(text):
        prose.append(re.sub(r"\S", "\0", text[end:token.start()]))
        kind = token.lastgroup
        if kind in ("comment", "block"):
            marker = re.match(r"//[/!]?|/\*", token[0])[0]
            prose.append(" " * len(marker) + without_code(token[0][len(marker):]))
        elif kind in ("text", "raw") and " " in token[kind] and not SQL.search(token[kind]):
            before = blank(token[0][: token.start(kind) - token.start()])
            after = blank(token[0][token.end(kind) - token.start():])
            # A line of a string may end in a backslash.
            prose.append(before + without_code(re.sub(r"\\(?=\n)", " ", token[kind])) + after)
        else:
            prose.append(blank(token[0]))
        end = token.end()
    return "".join(prose) + re.sub(r"\S", "\0", text[end:])


def of_markdown(text):
    text = re.sub(r"(?ms)^```.*?^```$", lambda code: blank(code[0]), text)
    text = re.sub(r"(?ms)^<!-- generated: (\w+) -->$.*?^<!-- end: \1 -->$", lambda part: blank(part[0]), text)
    text = re.sub(r"\]\([^)\n]*\)", lambda link: blank(link[0]), text)
    return without_code(text)


def files():
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if path.name != "schema.rs":
            yield path, of_rust
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        yield ROOT / name, of_markdown
    for path in sorted((ROOT / "docs").rglob("*.md")):
        yield path, of_markdown


def main():
    hits, read = [], 0
    for path, prose in files():
        text = prose(path.read_text())
        read += 1
        for turn, better in COMPILED:
            for hit in turn.finditer(text):
                if hit.groupdict().get("fine"):
                    continue
                line = text.count("\n", 0, hit.start()) + 1
                said = " ".join(hit[0].split())
                hits.append((str(path.relative_to(ROOT)), line, said, better))
    for path, line, said, better in sorted(hits):
        print(f"{path}:{line}: \"{said}\" -> {better}")
    print(f"{read} files, {len(hits)} turns to be reworded")
    sys.exit(bool(hits))


if __name__ == "__main__":
    main()
