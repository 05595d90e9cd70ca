"""The evaluate stage: numbers that agree with its own tables, baselines beside them, pictures, a complete journal."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from support.toy import write_background_depths
from support.trained import make_repository, run_stage, start_stage, write_small_params

from maskdepth.metrics.names import HEADLINE
from maskdepth.params import update_params
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
    return json.loads((repository / "measured" / "test.json").read_text())


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


def test_what_a_camera_that_moved_does_to_masks_is_measured_and_told(evaluated):
    repository, said = evaluated
    table = pd.read_csv(repository / "reports" / "robustness.csv").set_index("background")
    details = json.loads((repository / "reports" / "details.json").read_text())
    samples = pd.read_parquet(repository / "reports" / "samples.parquet")
    for how in ("disturbed", "registered"):
        mean = table.drop(index="as it is")[f"mask_iou_{how}"].mean()
        assert details[f"{how}_mask_iou"] == pytest.approx(mean)
        assert samples[f"{how}_mask_iou"].mean() == pytest.approx(mean)
    told = f"mask IoU {details['disturbed_mask_iou']:.3f}, registered {details['registered_mask_iou']:.3f}"
    assert f"; with disturbed backgrounds {told}" in said


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
    names = {"details.json", "samples.parquet", "intervals.csv", "baselines.csv", "places.csv", "robustness.csv"}
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


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A repository whose network sees the depth of the background, which is not known of two of them."""
    repository = make_repository(tmp_path_factory.mktemp("knowing") / "repository")
    write_background_depths(repository / "data" / "raw", range(1, 11))
    for stage in ("unzip", "index", "stats", "split"):
        run_stage(repository, stage)
    update_params(repository / "params.yaml", {"model.inputs": "background+composite+background_depth"})
    run_stage(repository, "train")
    return repository, run_stage(repository, "evaluate")


def test_a_network_that_sees_the_depth_of_the_background_is_measured_with_it_and_without(knowing):
    repository, said = knowing
    details = json.loads((repository / "reports" / "details.json").read_text())
    intervals = pd.read_csv(repository / "reports" / "intervals.csv").set_index(["samples", "metric"])
    for condition in ("given", "absent"):
        for metric in HEADLINE:
            assert details[f"{condition}_{metric}"] == pytest.approx(intervals.loc[(condition, metric), "mean"])
    assert details["given_depth_ssim"] != details["absent_depth_ssim"]
    told = f"with the depth of the background {details['given_depth_ssim']:.3f}, without"
    assert f"; {told} the depth of the background {details['absent_depth_ssim']:.3f}\n" in said


def test_copying_the_background_stands_beside_it(knowing):
    baselines = pd.read_csv(knowing[0] / "reports" / "baselines.csv")
    copied = baselines[baselines["baseline"] == "copied_background"].set_index("metric")["mean"]
    plane = baselines[baselines["baseline"] == "plane_under_mask"].set_index("metric")["mean"]
    assert set(copied.index) == {metric for metric in HEADLINE if metric.startswith("depth")}
    assert plane["depth_mae_foreground"] < copied["depth_mae_foreground"]


def test_without_any_map_the_same_network_is_measured_and_says_so(knowing, tmp_path):
    repository = Path(shutil.copytree(knowing[0], tmp_path / "repository"))
    index = pd.read_csv(repository / "data" / "index.csv", dtype=str).assign(background_depth_row="-1")
    index.to_csv(repository / "data" / "index.csv", index=False)
    shutil.rmtree(repository / "reports")
    said = run_stage(repository, "evaluate")
    numbers, details = numbers_of(repository), json.loads((repository / "reports" / "details.json").read_text())
    assert ", and it is given nowhere\n" in said
    assert numbers["depth_ssim"] == pytest.approx(details["absent_depth_ssim"])
    assert "given_depth_ssim" not in details
    assert "copied_background_depth_ssim" not in details


def test_evaluated_again_gives_the_same_numbers(evaluated):
    repository, _ = evaluated
    before = numbers_of(repository)
    run_stage(repository, "evaluate")
    assert numbers_of(repository) == before
