"""The evaluate stage: numbers that agree with its own tables, baselines beside them, pictures, a complete journal."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from support.trained import make_repository, run_stage, start_stage, write_small_params

from maskdepth.metrics.catalogue import HEADLINE
from maskdepth.process.command import BAD_INPUT
from maskdepth.tracking.journal import FINISHED, read_journal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A repository in which a toy training was evaluated, and what the stage said."""
    repository = make_repository(tmp_path_factory.mktemp("evaluated") / "repository")
    run_stage(repository, "train")
    return repository, run_stage(repository, "evaluate")


def numbers_of(repository):
    return json.loads((repository / "metrics" / "test.json").read_text())


def test_the_numbers_are_the_means_of_the_samples(evaluated):
    repository, _ = evaluated
    samples = pd.read_parquet(repository / "reports" / "samples.parquet")
    test, numbers = samples[samples["split"] == "test"], numbers_of(repository)
    assert next(iter(numbers)) == "score"
    assert numbers["num_samples"] == len(test)
    for metric in HEADLINE:
        assert numbers[metric] == pytest.approx(test[metric].mean())
    details = json.loads((repository / "reports" / "details.json").read_text())
    pooled = test["mask_intersection"].sum() / test["mask_union"].sum()
    assert details["mask_iou_pooled"] == pytest.approx(pooled)
    assert 0 < details["threshold"] < 1


def test_from_few_places_there_are_no_intervals_but_the_places(evaluated):
    intervals, places = (pd.read_csv(evaluated[0] / "reports" / f"{name}.csv") for name in ("intervals", "places"))
    test = intervals[intervals["samples"] == "test"]
    assert not test["metric"].str.endswith("_row").any()
    assert (test["groups"] == len(places)).all()
    assert test["low"].isna().all()
    assert places["samples"].sum() == numbers_of(evaluated[0])["num_samples"]


def test_baselines_stand_beside_and_are_told(evaluated):
    repository, said = evaluated
    numbers = numbers_of(repository)
    assert f"(unlearned {numbers['mask_iou_baseline']:.3f}), depth SSIM at 32 px" in said
    baselines = pd.read_csv(repository / "reports" / "baselines.csv")
    assert set(baselines["baseline"]) == {"difference", "mean_map", "ramp"}
    best = baselines[baselines["metric"] == "depth_ssim"]["mean"].max()
    assert numbers["depth_ssim_baseline"] == pytest.approx(best)


@pytest.mark.parametrize("kind", ["best", "median", "worst", "fixed"])
def test_pictures_are_drawn(evaluated, kind):
    with Image.open(evaluated[0] / "reports" / "pictures" / f"{kind}.png") as picture:
        assert picture.width > 900


def test_the_journal_holds_every_number_under_its_name(evaluated):
    repository, _ = evaluated
    journal = read_journal(repository / "journals" / "evaluate.jsonl")
    assert journal.status == FINISHED
    assert {point.name: point.value for point in journal.points} == {
        f"test/{name}": value for name, value in numbers_of(repository).items()
    }
    names = {"details.json", "samples.parquet", "intervals.csv", "baselines.csv", "places.csv"}
    assert {Path(artifact.path).name for artifact in journal.artifacts if artifact.folder == "tables"} == names
    drawn = {Path(artifact.path).stem for artifact in journal.artifacts if artifact.folder == "pictures"}
    assert drawn >= {"best", "median", "worst", "fixed", "fixed-1", "fixed-2"}


def test_a_place_that_cannot_be_written_is_told_before_the_work(evaluated):
    repository, _ = evaluated
    (repository / "file").touch()
    process = start_stage(repository, "evaluate", ["--reports", "file/reports"])
    _, stderr = process.communicate()
    assert process.returncode == BAD_INPUT
    assert stderr.splitlines() == ["error: cannot write to file/reports: Not a directory; choose another folder"]


def test_one_test_sample_and_no_pictures_are_enough(evaluated, tmp_path):
    repository = Path(shutil.copytree(evaluated[0], tmp_path / "repository"))
    shutil.rmtree(repository / "reports")
    write_small_params(repository, {"pictures": 0})
    split = pd.read_csv(repository / "data" / "split.csv", dtype=str)
    split.loc[split.index[split["split"] == "test"][1:], "split"] = "unused"
    split.to_csv(repository / "data" / "split.csv", index=False)
    assert "evaluate: 1 samples" in run_stage(repository, "evaluate")
    assert numbers_of(repository)["num_samples"] == 1
    assert not (repository / "reports" / "pictures").exists()
    artifacts = read_journal(repository / "journals" / "evaluate.jsonl").artifacts
    assert {artifact.folder for artifact in artifacts} == {"tables"}


def test_evaluated_again_gives_the_same_numbers(evaluated):
    repository, _ = evaluated
    before = numbers_of(repository)
    run_stage(repository, "evaluate")
    assert numbers_of(repository) == before
