"""params.yaml is complete and checked: every kind of mistake is named with its key, and nothing has a default."""

import copy
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.settings import SHIPPED_PARAMS

from maskdepth.params import Params, flatten, load_params


def change(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED_PARAMS.read_text()
    assert text.count(old) >= 1
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_file_is_valid():
    assert load_params(SHIPPED_PARAMS).data.image_size == 64


def test_no_setting_has_a_name_that_dvc_leaves_out_of_the_key_of_a_run():
    # It restores one run for another that differs in nothing else.
    keys = {part for key in flatten(load_params(SHIPPED_PARAMS).model_dump()) for part in key.split(".")}
    assert keys.isdisjoint({"size", "nfiles"})


def test_every_line_of_the_shipped_file_is_needed(tmp_path):
    keys = [line for line in SHIPPED_PARAMS.read_text().splitlines() if re.match(r"  \w", line)]
    assert len(keys) == sum(len(field.annotation.model_fields) for field in Params.model_fields.values())
    for line in keys:
        with pytest.raises(ValueError, match=r"missing; params.yaml is complete"):
            load_params(change(tmp_path, line + "\n", ""))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  epochs: 4",
            "  epoch: 12",
            r"train\.epoch: unknown key; did you mean train\.epochs\? Known here: train\.epochs",
        ),
        ("image_size: 64", "image_size: big", r"data\.image_size: found 'big'; Input should be a valid integer"),
        ("image_size: 64", "image_size: 64.5", r"data\.image_size: found 64\.5"),
        ("epochs: 4", "epochs: -3", r"train\.epochs: found -3; Input should be greater than or equal to 1"),
        (
            "micro_batch: auto ",
            "micro_batch: all ",
            r"train\.micro_batch: found 'all'; .*'auto' or .*integer",
        ),
        (
            "micro_batch: auto ",
            "micro_batch: 6 ",
            r"micro_batch: 6 does not divide train\.batch_size, 16; take",
        ),
        ("learning_rate: 0.03", "learning_rate: .nan", r"train\.learning_rate: found nan"),
        (
            "by: background ",
            "by: backgrounds ",
            r"split\.by: found 'backgrounds'; .*'background', 'foreground', 'both' or",
        ),
        ("depth: l1+ssim ", "depth: 3 ", r"loss\.depth: found 3; .*string or .*dictionary"),
        ("augment: [flip]", "augment: [flop]", r"train\.augment\.0: found 'flop'.*'cutout'"),
        ("val: 0.15", "val: 0.9", r"split\.val \+ split\.test is 1\.05, which leaves nothing to train on"),
        ("  seed: 0", "  seed: 0\n  seed: 1", "duplicate key"),
        ("split:", "split: [", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        load_params(change(tmp_path, old, new))


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    assert load_params(change(tmp_path, "learning_rate: 0.03", "learning_rate: 1e-2")).train.learning_rate == 0.01


def test_losses_and_a_layout_may_be_mappings(tmp_path):
    path = change(tmp_path, "depth: l1+ssim ", "depth: {ssim: 1, l1: 0.1} #")
    assert load_params(path).loss.depth == {"ssim": 1, "l1": 0.1}


def test_a_list_is_no_params_file(tmp_path):
    (tmp_path / "params.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="expected sections"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run this in the folder that holds"):
        load_params(tmp_path / "params.yaml")


PLAIN = YAML(typ="safe").load(SHIPPED_PARAMS.read_text())
KEYS = [(section, key) for section in PLAIN for key in PLAIN[section]]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
VALUES = st.recursive(
    LEAVES,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)
PIECES = ["!!int", "!!float", "!!bool ", "? ", "{", "}", "[", "]", ": ", "- ", "&a ", "*a", "x", "1", "<<: ", "\n", " "]
# The file is written anew for every example.
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_is_taken_or_named_with_its_key(tmp_path, key, value):
    changed = copy.deepcopy(PLAIN)
    changed[key[0]][key[1]] = value
    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(changed, file)
    try:
        assert getattr(getattr(load_params(path), key[0]), key[1]) == value
    except ValueError as error:
        assert any(name in str(error) for name in (".".join(key), "split.val + split.test", "not readable as YAML"))


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@QUICK
@given(content=st.lists(st.sampled_from(PIECES), max_size=10).map(lambda some: "".join(some).encode()) | st.binary())
def test_any_other_file_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"params\.yaml: "):
        load_params(path)


def test_a_file_too_large_for_settings_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED_PARAMS.read_text() + "# more\n" * 3_000_000)
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"params\.yaml: it has over 100,000 bytes"):
        load_params(path)
    assert time.perf_counter() - began < 5  # half a minute to be parsed


LEVELS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 7))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("auto ", "[" * 500, "not readable as YAML: maximum recursion depth"),
        ("epochs: 4", "epochs: 1" + "0" * 5000, "not readable as YAML: .* 5001 digits"),
        ("mask_weight: 1.0", "mask_weight: 1" + "0" * 400, r"loss\.mask_weight: found 1000.*\.\.\..*; Input should"),
        (
            "layout: auto",
            "layout: *a6",
            r"a0: unknown key\. Known.*; data\.layout: found \[\[.{98}; Input",
        ),
    ],
)
def test_a_file_made_to_overwhelm_is_refused_in_a_line_that_can_be_read(tmp_path, old, new, message):
    path = change(tmp_path, old, new)
    path.write_text("a0: &a0 [x, x]\n" + LEVELS + path.read_text() if "*a6" in new else path.read_text())
    with pytest.raises(ValueError, match=message) as refused:
        load_params(path)
    assert len(str(refused.value)) < 5000
