"""Tables: they fit where they are read, lose no number, and let no name break them."""

import pytest
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from support.simulated import METRICS, World

from maskdepth.comparing.statistics import compare
from maskdepth.comparing.tables import as_csv_table, as_markdown, terminal_rows
from maskdepth.comparing.telling import headline


@pytest.fixture(scope="module")
def comparison():
    gains = {"bce+dice|l1+ssim": 0.0, "dice|ssim": 0.02, "mse|mse": -0.05, "iou|l1": 0.0}
    table = World(seeds=5, places=30).measure(gains)
    return compare(table[(table["combination"] != "iou|l1") | (table["seed"] < 2)], "bce+dice|l1+ssim")


def test_the_terminal_table_fits_80_columns_with_every_cell_on_one_line(comparison):
    titles, rows = terminal_rows(comparison)
    table = Table(*titles, box=SIMPLE)
    for row in rows:
        table.add_row(*row)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table)
    lines = [line for line in captured.get().splitlines() if line.strip()]
    assert max(map(len, lines)) <= 80
    assert len(lines) == 2 + len(rows)
    assert not any("\u2026" in line for line in lines)


def test_the_terminal_table_stars_what_is_shown(comparison):
    rows = {row[0]: row for row in terminal_rows(comparison)[1]}
    assert rows["mse|mse"][3].startswith("-")
    assert rows["mse|mse"][3].endswith("*")
    assert not rows["iou|l1"][3].endswith("*")
    assert rows["iou|l1"][1] == "too few"


def test_markdown_has_the_headline_a_row_each_and_every_sentence(comparison):
    text = as_markdown(comparison)
    lines = text.splitlines()
    assert lines[0].replace("\\", "") == headline(comparison)
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {line.replace("\\|", "").count("|") for line in rows} == {3 + 3 * 4 + 1}
    assert sum(line.startswith("- ") for line in lines) == 3


def test_markdown_escapes_what_it_would_read_as_its_own():
    name = "a|b*c_<d>`\n| e"
    text = as_markdown(compare(World().measure({"control": 0.0, name: 0.0}), "control"))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "\\<d\\>" in text


def test_the_csv_table_has_every_number(comparison):
    table = as_csv_table(comparison)
    assert len(table) == 4 * len(METRICS)
    for answer in comparison.answers:
        for effect in answer.effects:
            rows = table[(table["combination"] == answer.combination) & (table["metric"] == effect.endpoint.metric)]
            assert rows["difference"].tolist() == [effect.difference]
            assert rows["verdict"].tolist() == [str(answer.verdict)]
    assert table.iloc[0]["verdict"] == "control"
    assert table["mean"].notna().all()


def test_the_csv_table_of_a_control_alone_has_its_means():
    table = as_csv_table(compare(World().measure({"a": 0.0}), "a"))
    assert table["verdict"].unique().tolist() == ["control"]
    assert len(table) == len(METRICS)
