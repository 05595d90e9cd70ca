"""README and docs claim no number that docs/claims.csv does not know, and what is quick to see of the table is so.

What takes minutes to make again, `make claims` does.
"""

import re

import pytest
from claims import MADE_AGAIN, ROOT, find_error, find_faults, is_within, read_claims, read_documents
from support.evidence import QUICK, READERS, SLOW, read_said, run_benchmark

CLAIMS, DOCUMENTS = read_claims(), read_documents()
README = DOCUMENTS["README.md"]


def faults_of(readme=README, claims=CLAIMS):
    return list(find_faults(DOCUMENTS | {"README.md": readme}, claims))


def test_every_number_stands_in_a_line_and_every_line_in_its_document():
    assert faults_of() == []


@pytest.mark.parametrize("claim", [one for one in CLAIMS if one.is_quick], ids=lambda one: f"{one.words[:40]} {one.by}")
def test_what_is_quick_to_see_is_so(claim):
    assert find_error(claim) == ""


@pytest.mark.parametrize("claim", [one for one in CLAIMS if not one.is_quick], ids=lambda one: one.by)
def test_what_is_slow_to_see_has_something_that_sees_it(claim):
    assert claim.source == MADE_AGAIN
    assert claim.by.split()[0] in SLOW


def test_the_table_is_of_both_kinds_and_no_two_lines_say_the_same():
    assert len(set(CLAIMS)) == len(CLAIMS) >= 60
    ways = {claim.by.split()[0] for claim in CLAIMS}
    assert ways == {*QUICK, *SLOW, *READERS}


def changed_numbers():
    """Give the README with one of its numbers changed in its last digit, ten times."""
    numbers = [found for found in re.finditer(r"(?<![\w.,`-])\d[\d,.]*\d(?= [%|.]|,? )", README)]
    for number in numbers[:: len(numbers) // 10][:10]:
        digit = (int(number[0][-1]) + 1) % 10
        yield f"{README[: number.end() - 1]}{digit}{README[number.end() :]}"


NEW = (
    "Masks reach an IoU of 0.94.",
    "It is 3 x as fast.",
    "Training takes 40 s.",
    "There are 17 networks.",
    "1,250 tests pass.",
    "Of 53 kills all were survived.",
    "The depth is 12 % better.",
    "It ends within seven minutes.",
    "Six combinations are better.",
    "It needs 2.5 GB.",
)


@pytest.mark.parametrize("readme", [*changed_numbers(), *(f"{README}\n{words}\n" for words in NEW)])
def test_each_of_twenty_wrong_numbers_in_the_readme_is_found(readme):
    (fault, *_) = faults_of(readme)
    assert fault.startswith("README.md")


def test_twenty_wrong_numbers_are_planted():
    assert len({*changed_numbers(), *NEW}) == 20


def test_words_that_are_gone_are_told():
    assert "README.md no longer says: Eight are worse" in faults_of(README.replace("Eight are worse", "Some are worse"))


def test_a_figure_that_its_words_do_not_have_is_told():
    claim = next(one for one in CLAIMS if one.words == "Eight are worse")
    wrong = claim._replace(figures=("Six",))
    told = faults_of(claims=[wrong if one is claim else one for one in CLAIMS])
    assert "README.md: Six is not in the words of its line: Eight are worse" in told


@pytest.mark.parametrize(
    ("words", "figures", "error"),
    [
        ("Six are worse", ("Six",), "Six is 8"),
        ("Eight of 11 are worse", ("Eight", "11"), "2 figures, and 1 values"),
    ],
)
def test_what_is_not_so_is_told_with_what_is(words, figures, error):
    claim = next(one for one in CLAIMS if one.words == "Eight are worse")
    assert find_error(claim._replace(words=words, figures=figures)) == error


@pytest.mark.parametrize("by", ["constants maskdepth.serving.predict:NONE", "settings data.none", "parameters none"])
def test_what_cannot_be_made_again_is_told_and_the_others_are_still_seen(by):
    claim = next(one for one in CLAIMS if one.source == MADE_AGAIN)
    assert "none" in find_error(claim._replace(by=by)).lower()


@pytest.mark.parametrize(
    ("figure", "tolerance", "within", "outside"),
    [
        ("0.923", "", 0.9234, 0.9236),
        ("2,400", "", 2400.4, 2401),
        ("five", "", 5.4, 5.6),
        ("0.923", "0.01", 0.932, 0.934),
        ("-0.038", "", -0.0376, 0.038),
        ("4.7", "x3", 14, 15),
        ("5", "at most", 5, 5.1),
        ("50", "at least", 50, 49.9),
    ],
)
def test_tolerances(figure, tolerance, within, outside):
    assert is_within(figure, tolerance, within)
    assert not is_within(figure, tolerance, outside)


def test_a_filed_result_that_does_not_say_so_is_told():
    with pytest.raises(ValueError, match=re.escape("SPEED.md does not say: 4.7 x beside 3")):
        read_said(ROOT / "docs" / "SPEED.md", "4.7 {x beside} 3")


def test_a_ratio_that_a_benchmark_does_not_have_is_told(monkeypatch):
    monkeypatch.setattr("support.evidence._run_benchmark", lambda name: [("ours over theirs", 2.0)])
    assert run_benchmark('ssim "ours over"') == [2.0]
    with pytest.raises(ValueError, match=r"bench_ssim.py has \['ours over theirs'\], and not all of \['ours than'\]"):
        run_benchmark('ssim "ours than"')
