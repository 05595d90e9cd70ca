"""Check that every number that README.md and docs/ claim is so: `make claims`.

docs/claims.csv is the one table of them. A line says which document claims something, the words as they stand there,
the figures in them, how far each may be off, and what it comes from: `made again`, by a function of
`support/evidence.py`, or the filed result that it was read from, for what takes an hour, another machine, or
photographs that are not here. docs/LOG.md is no claim but a dated record, as the files under results/ are, and
docs/SCALE.md computes from one of these what nobody has run.
"""

import csv
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from support.evidence import QUICK, READERS, SLOW

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "claims.csv"
MADE_AGAIN = "made again"
_NO_CLAIMS = ("LOG.md", "SCALE.md")

_SMALL = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_VALUES = {word: Decimal(number) for number, word in enumerate(_SMALL, 2)} | {"half": Decimal("0.5")}
_DIGITS = r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!\w)"
_NUMBER = re.compile(rf"{_DIGITS}|\b(?:{'|'.join(_VALUES)})\b", re.IGNORECASE)
# A number in words is looked for only before what is counted: "two pictures" is seldom a finding.
_COUNTED = "minutes|seconds|seeds|combinations|places|objects|modules|points|archives|projects|ways|scenes|samples"
_CLAIM = re.compile(rf"{_DIGITS}|\b(?:{'|'.join(_SMALL[1:])})\b(?= (?:student )?(?:{_COUNTED})\b)", re.IGNORECASE)
# What names a format, a range or an answer of HTTP: nothing was measured, and nothing was chosen here.
_NO_CLAIM = re.compile(
    r"\b\d+(?: or 16)?[- ]bits?\b|\[0, 1\]|\b0 to 1\b|\b0 is near|\b1 is far|\b0 near and 1 far"
    r"|\b255 on the object(?:, 0 elsewhere)?|\bstatus 400\b"
    r"|\bwith 400 and|\btype with 415\b|\(batch, 3, height, width\)"
    r"|\bthree places are three places\b|\bends with 0 when all is done|; 1 is a bug\b|\ban IoU of 0\.95 may miss"
    r"|\b(?:made such data sets of|Each made) 400,000 composites\b"  # the students did
)


class Claim(NamedTuple):
    """A line of the table.

    Attributes:
        document: Where it stands.
        words: As they stand there, whatever the line breaks.
        figures: The numbers in them that are claimed, as they are written.
        tolerance: How far what is found may be off a figure: nothing for what rounding hides, a number, `x3` for three
            times as much or a third, `at most`, `at least`.
        source: `made again`, or the file that it was read from.
        by: A function of `support/evidence.py` and its argument.
    """

    document: str
    words: str
    figures: tuple[str, ...]
    tolerance: str
    source: str
    by: str

    @property
    def is_quick(self) -> bool:
        """Whether it takes no time to see."""
        return self.source != MADE_AGAIN or self.by.split()[0] in QUICK


def read_claims(path: Path = TABLE) -> list[Claim]:
    """Read the table."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return [
            Claim(document, words, tuple(figures.split()), tolerance, source, by)
            for document, words, figures, tolerance, source, by in (row.values() for row in rows)
        ]


def read_documents() -> dict[str, str]:
    """Read what people are told."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths if path.name not in _NO_CLAIMS}


def find_faults(documents: Mapping[str, str], claims: Sequence[Claim]) -> Iterator[str]:
    """Hold documents and table against each other, one sentence for each number of which only one of them knows."""
    texts = {name: _flatten(text) for name, text in documents.items()}
    known: dict[str, set[int]] = {name: set() for name in documents}
    for claim in claims:
        places = list(_find(claim, texts[claim.document])) if claim.document in texts else []
        if not places:
            yield f"{claim.document} no longer says: {claim.words}"
        numbers = list(_NUMBER.finditer(claim.words))
        for figure in set(claim.figures) - {number[0] for number in numbers}:
            yield f"{claim.document}: {figure} is not in the words of its line: {claim.words}"
        for start in places:
            known[claim.document] |= {start + number.start() for number in numbers if number[0] in claim.figures}
    for name, text in texts.items():
        for number in _CLAIM.finditer(_hide(text)):
            if number.start() not in known[name]:
                around = text[max(0, number.start() - 40) : number.end() + 40]
                yield f"{name}: {number[0]} stands in no line of {TABLE.name}: ... {around} ..."


def _flatten(text: str) -> str:
    """Put a text on one line; blocks of code and the numbers of a list become nothing."""
    return " ".join(re.sub(r"^( *)```.*?^\1```|^ *\d+\. ", "", text, flags=re.DOTALL | re.MULTILINE).split())


def _hide(text: str) -> str:
    """Cover code, links and what is no claim, by as many signs as it has."""
    for pattern in (r"`[^`]*`", r"\]\([^)]*\)", _NO_CLAIM):
        text = re.sub(pattern, lambda found: "~" * len(found[0]), text)
    return text


def _find(claim: Claim, text: str) -> Iterator[int]:
    """Give where its words stand, neither within a longer word nor within a longer number."""
    for found in re.finditer(rf"(?<![\w.,]){re.escape(claim.words)}(?![\w]|[.,]\d)", text):
        yield found.start()


def find_values(claim: Claim) -> list[float]:
    """Make the figures of a claim again, or read them where they were read."""
    way, _, argument = claim.by.partition(" ")
    if claim.source == MADE_AGAIN:
        return (QUICK | SLOW)[way](argument)
    return READERS[way](ROOT / claim.source, argument)


def is_within(figure: str, tolerance: str, value: float) -> bool:
    """Tell whether what was found bears a figure out.

    >>> is_within("0.92", "", 0.9249), is_within("0.92", "", 0.926), is_within("0.92", "0.01", 0.926)
    (True, False, True)
    >>> is_within("9", "x3", 26.0), is_within("1.1", "at most", 1.04), is_within("five", "at least", 4)
    (True, True, False)
    """
    shown = _VALUES.get(figure.lower(), Decimal(0)) or Decimal(figure.replace(",", ""))
    off, claimed = abs(value - float(shown)), float(shown)
    if tolerance.startswith("x"):
        return claimed / float(tolerance[1:]) <= value <= claimed * float(tolerance[1:])
    if tolerance.startswith("at "):
        return value <= claimed if tolerance == "at most" else value >= claimed
    exponent = shown.as_tuple().exponent
    assert isinstance(exponent, int)
    return off <= (float(tolerance) if tolerance else 0.5 * 10.0**exponent) + 1e-9 * abs(claimed)


def find_error(claim: Claim) -> str:
    """Say what does not hold of a claim; "" where all of it does."""
    try:
        values = find_values(claim)
    except (ValueError, LookupError, AttributeError, ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"  # the other claims are still to be seen
    if len(values) != len(claim.figures):
        return f"{len(claim.figures)} figures, and {len(values)} values"
    pairs = zip(claim.figures, values, strict=True)
    wrong = [f"{figure} is {value:.6g}" for figure, value in pairs if not is_within(figure, claim.tolerance, value)]
    return ", ".join(wrong)


def main() -> int:
    claims, began = read_claims(), time.monotonic()
    faults, within = list(find_faults(read_documents(), claims)), 0
    for claim in claims:
        error = find_error(claim)
        if not claim.is_quick:
            print(f"{time.monotonic() - began:6.0f} s  {'not ' if error else ''}within: {claim.by}", flush=True)
        within += not error
        if error:
            faults.append(f"{claim.document}: {claim.words}: {error} ({claim.source}: {claim.by})")
    for fault in faults:
        print(fault)
    again = sum(claim.source == MADE_AGAIN for claim in claims)
    print(f"{again} claims were made again, {len(claims) - again} are read from filed results")
    print(f"{within} of {len(claims)} within")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
