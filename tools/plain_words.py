"""Find figures of speech where a plain or technical word exists: ``python tools/plain_words.py [--shrink]``.

Looks through the package, the docs and the front page. Prints each place with what to say instead, and exits with 1.
Places that are known stand in ``plain_words_allowed.txt``, a file and a word a line; the list may only shrink, and
``--shrink`` takes the lines out that are no longer needed.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALLOWED = Path(__file__).with_name("plain_words_allowed.txt")
PLACES = ("src/**/*.py", "src/**/*.j2", "docs/**/*.md", "README.md", "CONTRIBUTING.md")

INSTEAD = {
    r"habits?": "confusions between classes, tendency",
    r"opinions?(?! pool)": "second calibrator, pool",
    r"worth": "accuracy, or what is meant: how often it is right",
    r"luck\w*": "chance, sampling error",
    r"so-?manieth": "a regular subsample, every k-th",
    r"surely": "significantly, or: the interval excludes zero",
    r"surest": "largest confidence",
    r"faintest": "smallest",
    r"nil": "zero",
    r"told": "distinguished, reported, passed: name what is done",
    r"tells? (?:no|which|what|how|mistakes)": "shows, identifies",
    r"(?:too|less|more) dear": "costs too much",
    r"wavers?": "fluctuates",
    r"leap": "a large step",
    r"hopeless\w*": "cannot be fitted",
    r"get the right to": "check the file permissions",
    r"leave to run": "trust_code=True",
    r"as sure as": "as confident as",
    r"out of the question": "of negligible probability",
    r"(?:the|at the|our|this|own) doors?": "entry point",
    r"doors": "entry points",
    r"(?:the|this|only|own|each|which) rooms?(?:'s)?": "package",
    r"of the house": "of the library",
    r"(?:lower|metrics|same|one|higher) floors?": "layer",
    r"made (?:streets?|scenes?|data|images?|predictions?)": "synthetic",
    r"goes? on bit for bit": "resumes exactly",
    r"knows? (?:no|nothing|not)": "does not use, does not have",
    r"gone wrong|goes wrong": "fails",
}
# A word right after a dot is a part of a name, and not prose.
PATTERN = re.compile("|".join(rf"(?P<w{i}>(?<!\w\.)\b{word}\b)" for i, word in enumerate(INSTEAD)), re.IGNORECASE)
NOT_PROSE = re.compile(r"src/calibrant/data/(sets|label_maps)\S*|docs/decisions/\S*")  # class names: floor, door


def places() -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Return the lines of each file in which a word stands, by file and word, with what to say instead."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for path in sorted(path for pattern in PLACES for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if NOT_PROSE.fullmatch(name):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            for match in PATTERN.finditer(line):
                advice = list(INSTEAD.values())[int((match.lastgroup or "w0")[1:])]
                found.setdefault((name, match[0].lower()), []).append((number, advice))
    return found


def main() -> int:
    """Print what is new and what is listed without need; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shrink", action="store_true", help="take lines that are no longer needed out of the list")
    shrink = parser.parse_args().shrink
    found = places()
    known = {
        (file, word) for file, _, word in (line.partition(": ") for line in ALLOWED.read_text("utf-8").splitlines())
    }
    for (file, word), lines in found.items():
        for number, advice in lines if (file, word) not in known else ():
            print(f"{file}:{number}: {word!r}: say {advice}")
    if shrink:
        ALLOWED.write_text("".join(f"{file}: {word}\n" for file, word in sorted(known & found.keys())), "utf-8")
        known &= found.keys()
    for file, word in sorted(known - found.keys()):
        print(f"{ALLOWED.name}: {file}: {word} is no longer needed: run python tools/plain_words.py --shrink")
    return int(known != known & found.keys() or not found.keys() <= known)


if __name__ == "__main__":
    raise SystemExit(main())
