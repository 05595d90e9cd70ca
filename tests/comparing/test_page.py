"""The page: one offline file that parses, escapes what it is given, and says the same as the results."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from support.simulated import World

from maskdepth.comparing.page import Picture, Surroundings, write_page
from maskdepth.comparing.statistics import compare
from maskdepth.comparing.telling import headline

HOSTILE = "<script>alert(1)</script>\"'&|</table>"
VOID = {"meta", "input", "br", "wbr", "img", "rect", "line", "circle", "path", "polyline"}
ADDRESS = re.compile(
    r"""(?:https?:)?//[\w.-]+|@import|url\(|\b(?:src|href|action)\s*=\s*["'](?!data:)""", re.IGNORECASE
)


class Page(HTMLParser):
    """Collect elements and text, and insist that each element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def curves(names):
    points = [
        (name, seed, epoch, metric, 0.5 + epoch / 20)
        for name in names
        for seed in (0, 1)
        for epoch in (1, 2, 3)
        for metric in ("val/mask_iou", "val/depth_ssim")
    ]
    return pd.DataFrame(points, columns=["combination", "seed", "epoch", "metric", "value"])


@pytest.fixture(scope="module")
def comparison():
    gains = {"bce|ssim": 0.0, "dice|ssim": 0.02, "mse|mse": -0.05, "iou|l1": 0.0}
    table = World(seeds=5, places=30).measure(gains)
    return compare(table[(table["combination"] != "iou|l1") | (table["seed"] < 2)], "bce|ssim")


@pytest.fixture(scope="module")
def page(comparison):
    names = [comparison.control, *(answer.combination for answer in comparison.answers)]
    surroundings = Surroundings(
        conditions={"image size": "64"},
        baselines={"mean map": {"depth_ssim": 0.55}},
        left_out=["small-s0 (1234): image size 32, not 64"],
        curves=curves(names),
        pictures={name: [Picture("sample 7", b"PNG" + name.encode())] for name in names},
    )
    return write_page(comparison, surroundings)


def test_every_element_is_closed_in_its_turn(page):
    Page(page)


def test_the_verdict_comes_before_everything_else(page, comparison):
    text = " ".join(Page(page).text)
    assert text.index(headline(comparison)) < text.index("All combinations")
    for answer in comparison.answers:
        assert f"{answer.sentence}." in text


def test_the_page_refers_to_nothing_elsewhere(page):
    assert not ADDRESS.search(page)
    assert {tag for tag, _ in Page(page).elements}.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    assert "default-src 'none'" in page


def test_tables_can_be_read_aloud_and_sorted_by_keyboard(page):
    found = Page(page)
    assert page.count("<table") == page.count("<caption>") == 3
    assert all(head["scope"] in ("col", "row") for head in found.all("th"))
    heads = re.findall(r'<table class="sortable".*?</thead>', page, re.DOTALL)
    assert all(head.count("<th ") == head.count("<button ") for head in heads)
    assert "aria-sort" in page
    assert found.all("output") == [{"aria-live": "polite"}]
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))
    assert all(image["alt"] for image in found.all("img"))
    assert found.all("html") == [{"lang": "en"}]


def test_a_cell_is_sorted_by_its_number_and_not_by_its_text(page, comparison):
    means = comparison.means[comparison.means["metric"] == "mask_iou"]["mean"]
    rows = page.split('id="combinations"')[1]
    for mean in means:
        assert f'data-value="{mean:.6g}"' in rows


def test_hostile_names_stay_text():
    table = World().measure({"a": 0.0, HOSTILE: 0.1})
    found = compare(table, "a")
    surroundings = Surroundings(
        conditions={HOSTILE: HOSTILE},
        baselines={HOSTILE: {"depth_ssim": 0.5}},
        left_out=[HOSTILE],
        curves=curves(["a", HOSTILE]).assign(metric=HOSTILE),
        pictures={HOSTILE: [Picture(HOSTILE, b"x")]},
    )
    text = write_page(found, surroundings)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert any(attributes.get("data-name") == HOSTILE for attributes in page.all("tr"))


def test_a_hostile_control_stays_text():
    table = World().measure({HOSTILE: 0.0, "b": 0.1})
    assert len(Page(write_page(compare(table, HOSTILE), Surroundings({}))).all("script")) == 1


def test_pictures_stand_in_the_file_itself(page):
    assert 'src="data:image/png;base64,UE5HZGljZXxzc2lt"' in page


def test_a_picture_that_is_missing_is_said_to_be(comparison):
    pictures = {"bce|ssim": [Picture("7", b"x"), Picture("8", b"x")], "dice|ssim": [Picture("8", b"x")]}
    page = write_page(comparison, Surroundings({}, pictures=pictures))
    assert page.count("<img") == 3
    assert page.count("not drawn") == 1


def test_runs_that_were_left_out_are_listed(page):
    assert "1 run not compared" in page
    assert "small-s0 (1234): image size 32, not 64" in page


def test_what_is_not_there_has_no_heading(comparison):
    page = write_page(comparison, Surroundings({}))
    for heading in ("While they learned", "The same pictures", "Left out"):
        assert heading not in page


def test_a_control_alone_has_a_page():
    page = write_page(compare(World().measure({"a": 0.0}), "a"), Surroundings({}))
    Page(page)
    assert "nothing to compare it with" in page


def test_no_number_is_written_as_nan():
    table = World(seeds=2).measure({"a": 0.0, "b": 0.0})
    table.loc[table["combination"] == "b", "depth_ssim"] = np.nan
    page = write_page(compare(table, "a"), Surroundings({}))
    assert "not measured" in page
    assert not re.search(r"\bnan\b", page)


def test_a_hundred_combinations_of_ten_seeds_stay_below_five_megabytes():
    table = World(seeds=10, places=13, per_place=20).measure(
        {f"loss{number}|ssim": number / 1e4 for number in range(100)}
    )
    page = write_page(compare(table, "loss0|ssim"), Surroundings({}))
    assert len(page.encode()) < 5e6
    assert page.count('<th scope="row">') == 100 + 99 * 6
