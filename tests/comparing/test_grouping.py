"""Grouping: only runs of one data set, split, size and budget are compared; each other run is told why it is not."""

from dataclasses import replace

import pytest

from maskdepth.comparing.grouping import Run, choose_family, choose_pair

PARAMS = {
    "data.image_size": "64",
    "data.max_rejected": "0.05",
    "split.by": "background",
    "model.name": "dsunet",
    "loss.mask": "bce",
    "loss.depth": "ssim",
    "train.epochs": "8",
    "train.batch_size": "16",
    "train.learning_rate": "0.01",
    "train.seed": "0",
    "evaluate.threshold": "0.5",
    "evaluate.pictures": "6",
}


def run(signature="bce|ssim", seed=0, *, run_id="", ended=1.0, **changes):
    """Describe a run; a change is a field, or a setting with __ for its dot."""
    settings = {name.replace("__", "."): str(value) for name, value in changes.items() if "__" in name}
    fields = {name: value for name, value in changes.items() if "__" not in name}
    standard = Run(
        run_id=run_id or f"{signature}-{seed}", name=f"{signature.replace('|', '-')}-s{seed}", signature=signature,
        params=PARAMS | {"train.seed": str(seed)} | settings, data="d1", split="s1", version="0.1", table="samples",
        ended=ended, status="FINISHED",
    )  # fmt: skip
    return replace(standard, **fields)


def sweep(signatures=("bce|ssim", "dice|ssim"), seeds=3, **changes):
    return [run(signature, seed, **changes) for signature in signatures for seed in range(seeds)]


def reasons(family):
    return [str(left_out) for left_out in family.left_out]


def test_runs_are_grouped_by_everything_but_the_seed():
    family = choose_family(sweep(), None)
    assert {name: list(by_seed) for name, by_seed in family.combinations.items()} == {
        "bce|ssim": [0, 1, 2],
        "dice|ssim": [0, 1, 2],
    }
    assert family.left_out == ()
    assert family.conditions["image size"] == "64"


def test_two_spellings_of_one_loss_are_one_combination():
    spelled = [run(seed=0, loss__mask="bce"), run(seed=1, loss__mask="1.0*bce")]
    assert list(choose_family(spelled, None).combinations) == ["bce|ssim"]


def test_settings_that_change_no_result_set_no_combination_apart():
    runs = [
        run(seed=0),
        run(seed=1, evaluate__pictures=2, data__max_rejected=0.5, train__checkpoint_seconds=1, train__compile="off"),
    ]
    assert list(choose_family(runs, None).combinations) == ["bce|ssim"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "d2"}, "other data"),
        ({"split": "s2"}, "other split"),
        ({"data__image_size": 32}, "image size 32, not 64"),
        ({"train__epochs": 4}, "epochs 4, not 8"),
        ({"train__batch_size": 8}, "batch size 8, not 16"),
        ({"evaluate__threshold": 0.4}, "threshold of the mask 0.4, not 0.5"),
    ],
)
def test_what_is_unlike_the_largest_family_is_left_out_and_told_why(changes, reason):
    family = choose_family([*sweep(), run("iou|l1", **changes)], None)
    assert list(family.combinations) == ["bce|ssim", "dice|ssim"]
    assert reasons(family) == [f"iou-l1-s0 (iou|l1-0): it cannot be compared with the others: {reason}"]


def test_every_difference_of_a_run_is_named():
    family = choose_family([*sweep(), run("iou|l1", data="d2", train__epochs=4)], None)
    assert "other data; epochs 4, not 8" in reasons(family)[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "RUNNING"}, "it is running, not finished"),
        ({"status": "FAILED"}, "it is failed, not finished"),
        ({"table": None}, "no table of its samples"),
        ({"train__seed": ""}, "no train.seed"),
        ({"signature": ""}, "which losses"),
        ({"data": ""}, "which data and split"),
    ],
)
def test_a_run_of_which_nothing_can_be_told_is_left_out(changes, reason):
    family = choose_family([*sweep(), run(seed=9, run_id="spoilt", **changes)], None)
    assert [line for line in reasons(family) if "spoilt" in line and reason in line]
    assert sum(map(len, family.combinations.values())) == 6


def test_of_two_runs_of_one_combination_and_seed_the_newest_counts():
    old, new = run(run_id="old", ended=1.0), run(run_id="new", ended=2.0)
    for runs in ([old, new], [new, old]):
        family = choose_family(runs, None)
        assert family.combinations["bce|ssim"][0] is new
        assert reasons(family) == ["bce-ssim-s0 (old): bce-ssim-s0 (new) is a newer run of bce|ssim with seed 0"]


def test_repeated_runs_do_not_make_a_family_larger():
    repeated = [run(run_id=f"again{count}", data__image_size=32) for count in range(20)]
    assert choose_family([*repeated, *sweep()], None).conditions["image size"] == "64"


def test_a_named_control_decides_for_its_family():
    small = sweep(("iou|l1",), seeds=1, data__image_size=32)
    family = choose_family([*sweep(), *small], "iou|l1")
    assert list(family.combinations) == ["iou|l1"]
    assert len(family.left_out) == 6


def test_of_two_equal_families_the_newer_is_taken():
    families = [sweep(ended=1.0), sweep(data__image_size=32, ended=2.0)]
    assert choose_family([*families[0], *families[1]], None).conditions["image size"] == "32"
    assert choose_family([*families[1], *families[0]], None).conditions["image size"] == "32"


def test_another_setting_than_most_runs_have_is_part_of_the_name():
    runs = [*sweep(), *sweep(("bce|ssim",), run_id="fast", train__learning_rate=0.1)]
    assert list(choose_family(runs, None).combinations) == [
        "bce|ssim",
        "bce|ssim, train.learning_rate=0.1",
        "dice|ssim",
    ]


def test_every_run_is_compared_or_told_why_it_is_not():
    runs = [
        *sweep(),
        *sweep(("iou|l1",), data__image_size=32, run_id="small"),
        run(status="FAILED", run_id="failed"),
        run(ended=0.5, run_id="old"),
    ]
    family = choose_family(runs, None)
    compared = [each for by_seed in family.combinations.values() for each in by_seed.values()]
    assert len(compared) + len(family.left_out) == len(runs)


def test_versions_of_the_compared_runs_are_named():
    runs = [run(seed=0), run(seed=1, version="0.2"), run("iou|l1", version="0.0", data="d2")]
    assert choose_family(runs, None).versions == ("0.1", "0.2")


def test_ten_thousand_runs_are_grouped():
    runs = [run(f"{mask}|l{depth}", seed) for mask in range(40) for depth in range(50) for seed in range(5)]
    family = choose_family(runs, None)
    assert len(family.combinations) == 2000
    assert {len(by_seed) for by_seed in family.combinations.values()} == {5}


def test_an_empty_store_says_what_to_do():
    with pytest.raises(ValueError, match="no runs; `dvc repro`"):
        choose_family([], None)


def test_a_store_of_older_rows_says_what_they_lack():
    with pytest.raises(ValueError, match=r"none of 2 runs can be compared; .*no table of its samples"):
        choose_family([run(seed=seed, table=None) for seed in range(2)], None)


def test_an_unknown_control_is_refused_and_the_nearest_is_named():
    with pytest.raises(ValueError, match=r"'dice\|sim'; did you mean dice\|ssim\? known: bce\|ssim, dice\|ssim"):
        choose_family(sweep(), "dice|sim")


# Two of them


def test_a_pair_has_all_seeds_of_two_combinations_and_nothing_else():
    runs = [*sweep(("bce|ssim", "dice|ssim", "mse|mse")), run("dice|ssim", train__epochs=4, run_id="short")]
    family, name, control = choose_pair(runs, runs[3], runs[1])
    assert (name, control) == ("dice|ssim", "bce|ssim")
    assert {each: list(by_seed) for each, by_seed in family.combinations.items()} == {
        "bce|ssim": [0, 1, 2],
        "dice|ssim": [0, 1, 2],
    }


def test_a_pair_that_differs_in_a_setting_alone_is_named_by_it():
    runs = [run(), run(train__learning_rate=0.02, run_id="faster")]
    _, name, control = choose_pair(runs, runs[1], runs[0])
    assert sorted((name, control)) == ["bce|ssim", "bce|ssim, train.learning_rate=0.02"]
    assert name != control


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (run("dice|ssim", data="d2"), r"dice-ssim-s0 cannot be compared with bce-ssim-s0: other data$"),
        (run("dice|ssim", train__epochs=4), r"cannot be compared with bce-ssim-s0: epochs 4, not 8$"),
        (run(seed=1), r"^bce-ssim-s1 and bce-ssim-s0 differ in their seed alone"),
        (run("dice|ssim", table=None), r"^dice-ssim-s0 \(dice\|ssi\): it has no table of its samples"),
        (run("dice|ssim", status="FAILED"), r"it is failed, not finished$"),
    ],
)
def test_what_makes_no_pair_is_told(one, reason):
    with pytest.raises(ValueError, match=reason):
        choose_pair([run(), one], one, run())


def test_a_newer_run_stands_for_an_older_one_of_its_settings_and_seed():
    older, newer = run("dice|ssim", run_id="older", ended=1.0), run("dice|ssim", run_id="newer", ended=2.0)
    with pytest.raises(ValueError, match=r"dice-ssim-s0 \(newer\) is a newer run .*: promote that one$"):
        choose_pair([run(), older, newer], older, run())
    assert choose_pair([run(), older, newer], newer, run())[1] == "dice|ssim"
