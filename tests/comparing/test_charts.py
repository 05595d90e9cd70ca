"""Charts: what is drawn lies where its numbers say, and what is shown to differ can be told without colour."""

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated import World

from maskdepth.comparing.charts import Mark, curves, forest, scatter, ticks
from maskdepth.comparing.statistics import compare


@settings(max_examples=100)
@given(st.floats(-100, 100), st.floats(1e-6, 100))
def test_ticks_are_round_few_and_within(low, width):
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= tick <= low + width + 1e-6 * width for tick in found)
    assert found == sorted(found)


@pytest.fixture(scope="module")
def comparison():
    return compare(World(places=30).measure({"a": 0.0, "better": 0.05, "worse": -0.05, "same": 0.0}), "a")


def test_better_is_right_of_the_line_also_where_lower_is_better(comparison):
    for endpoint in comparison.endpoints:
        drawn = forest(comparison, endpoint)
        zero = float(re.search(r'class="zero" x1="([\d.]+)"', drawn)[1])
        rows = dict(re.findall(r"<g class=\"(\w+)\">.*?<circle cx=\"([\d.]+)\"", drawn))
        assert float(rows["better"]) > zero > float(rows["worse"])


def test_every_combination_has_its_numbers_as_a_title(comparison):
    drawn = forest(comparison, comparison.endpoints[0])
    assert re.findall(r"<title>(\w+): [+-]?[\d.]+ \[", drawn) == [answer.combination for answer in comparison.answers]


def test_the_control_of_a_scatter_has_a_shape_of_its_own():
    marks = [
        Mark("a", "control", (0.8, 0.7, 0.9), (0.7, 0.6, 0.8)),
        Mark("b", "better", (0.9, 0.8, 1), (0.8, 0.7, 0.9)),
    ]
    drawn = scatter(marks, "mask IoU", "depth SSIM")
    assert drawn.count("<circle") == drawn.count("<path") == 1
    assert drawn.count('class="name"') == 2


def test_names_of_a_crowded_scatter_do_not_overlap():
    marks = [Mark(f"name{i}", "open", (0.8 + i / 1e4,) * 3, (0.7 + i / 1e4,) * 3) for i in range(12)]
    drawn = scatter(marks, "mask IoU", "depth SSIM")
    places = [(float(x), float(y)) for x, y in re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', drawn)]
    for position, (x, y) in enumerate(places):
        assert all(abs(x - other_x) > 30 or abs(y - other_y) >= 14 for other_x, other_y in places[:position])


def test_one_mark_with_no_interval_can_be_drawn():
    nan = float("nan")
    assert "nan" not in scatter([Mark("a", "control", (0.8, nan, nan), (0.7, nan, nan))], "mask IoU", "depth SSIM")


def test_a_curve_is_the_mean_of_its_seeds_and_skips_what_is_missing():
    points = pd.DataFrame(
        [("a", 0, 1, "val", 0.0), ("a", 1, 1, "val", 1.0), ("a", 0, 2, "val", 0.5), ("b", 0, 1, "val", 0.5)],
        columns=["combination", "seed", "epoch", "metric", "value"],
    )
    lines = re.findall(r'points="([^"]+)"', curves(points, "val", {"a": "control", "b": "open"}))
    heights = [[point.split(",")[1] for point in line.split()] for line in lines]
    assert [len(line) for line in heights] == [1, 2]
    assert len({height for line in heights for height in line}) == 1
