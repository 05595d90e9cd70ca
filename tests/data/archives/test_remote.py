"""Proves that zips in an object store give what they give in a folder, with few requests, and fail in one sentence."""

import json
import logging
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.object_store import bucket, served
from support.planned import plan_all
from support.toy import write_toy_archive

from maskdepth.data.archives.archive import find_archives
from maskdepth.data.archives.remote import Remote, link, read_list
from maskdepth.data.archives.shards import write_shards
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import load_params

boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")
settings = pytest.importorskip("moto.settings")

NAMES = ("batch1_images.zip", "batch2_images.zip")


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture
def store(address, tmp_path, monkeypatch):
    """A bucket with the archives of `folder`."""
    write_toy_archive(tmp_path / "folder")
    (first,) = (tmp_path / "folder").glob("*.zip")
    shutil.copy(first, tmp_path / "folder" / NAMES[1])
    with bucket(address, "pictures", monkeypatch) as client:
        for name in NAMES:
            client.upload_file(str(tmp_path / "folder" / name), "pictures", f"raw/{name}")
        yield client


@pytest.fixture
def linked(store, tmp_path):
    """A raw folder that holds nothing but a list."""
    (tmp_path / "raw").mkdir()
    assert link("s3://pictures/raw", tmp_path / "raw" / "all.urls") == 2
    return tmp_path / "raw"


def decode(raw: Path, arrays: Path) -> Path:
    arrays.mkdir()
    layout, params = read_layouts()["sudhakarmlal"], load_params(Path(__file__).parents[3] / "params.yaml").data
    list(write_shards(arrays, plan_all(raw, layout, params), workers=1))
    return arrays


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def requests(caplog):
    """What the store was asked, as its log says."""
    caplog.set_level(logging.INFO, "werkzeug")
    return lambda kind: [line for line in caplog.messages if f"{kind} /" in line]


def test_the_shards_are_those_of_a_folder(linked, tmp_path):
    near, far = decode(tmp_path / "folder", tmp_path / "near"), decode(linked, tmp_path / "far")
    assert contents(near) == contents(far)
    assert len(contents(far)) > 6


def test_a_list_has_address_and_etag(linked, store):
    lines = (linked / "all.urls").read_text().splitlines()
    etag = store.head_object(Bucket="pictures", Key=f"raw/{NAMES[0]}")["ETag"].strip('"')
    assert lines[0] == f"s3://pictures/raw/{NAMES[0]} {etag}"
    assert [archive.name for archive in find_archives(linked)] == list(NAMES)


def test_nothing_but_directories_is_read_to_list_and_members_that_lie_together_at_once(linked, requests):
    first, _ = find_archives(linked)
    members = first.members()
    assert len(requests("GET")) <= 3
    before = len(requests("GET"))
    heads = len(requests("HEAD"))
    with first.opened(members) as read:
        assert sum(len(read(member)) for member in members) == sum(member.size for member in members)
    assert (len(requests("GET")), len(requests("HEAD"))) == (before + 1, heads + 1)  # whether it is still the same


def test_a_member_is_read_without_its_neighbours(linked):
    first, _ = find_archives(linked)
    local = find_archives(linked.parent / "folder")[0]
    for member in first.members()[::7]:
        with first.opened([member]) as read, local.opened([member]) as read_local:
            assert read(member) == read_local(member)


def refusal_of(raw):
    with pytest.raises(RefusedError) as caught:
        for archive in find_archives(raw):
            archive.members()
    told = str(caught.value)
    assert "\n" not in told
    assert "a-secret" not in told
    return told


def test_an_object_that_was_replaced_is_refused(linked, store):
    store.put_object(Bucket="pictures", Key=f"raw/{NAMES[0]}", Body=b"other")
    told = refusal_of(linked)
    assert told == f"{NAMES[0]}: it is another object than the list names; list it again with `maskdepth link`"


def test_an_object_that_is_replaced_between_listing_and_reading_gives_no_other_bytes(linked, store):
    first, _ = find_archives(linked)
    members = first.members()
    with first.opened(members) as read:
        store.put_object(Bucket="pictures", Key=f"raw/{NAMES[0]}", Body=b"x" * 100_000)
        with pytest.raises(RefusedError, match=r"replaced while it was read|another size|CRC|the store answers"):
            read(members[0])


def test_an_object_that_was_replaced_before_its_members_are_read_is_refused(linked, store):
    first, _ = find_archives(linked)
    members = first.members()
    body = store.get_object(Bucket="pictures", Key=f"raw/{NAMES[0]}")["Body"].read()
    store.put_object(Bucket="pictures", Key=f"raw/{NAMES[0]}", Body=body + b"x")  # the members are where they were
    with pytest.raises(RefusedError, match="another object than the list names"), first.opened(members):
        pass


def test_an_object_or_a_bucket_that_is_not_there_is_named(linked, store):
    store.delete_object(Bucket="pictures", Key=f"raw/{NAMES[0]}")
    assert refusal_of(linked) == f"{NAMES[0]}: there is no such object; check the address, or take it out of the list"
    (linked / "all.urls").write_text("s3://nowhere/raw/x.zip\n")
    assert "there is no such object" in refusal_of(linked)
    with pytest.raises((RefusedError, ValueError), match="s3://nowhere/raw: "):
        link("s3://nowhere/raw", linked / "more.urls")


@pytest.mark.timeout(120)
def test_a_store_that_is_away_is_told_with_the_cure(linked, monkeypatch):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert refusal_of(linked) == f"{NAMES[0]}: the store does not answer; check the network, and AWS_ENDPOINT_URL"


def test_without_a_key_one_is_asked_for(linked, monkeypatch, tmp_path):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert re.search("the store (wants a|refuses the) key; .*AWS_PROFILE", refusal_of(linked))


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "a-secret-of-another")],
)
def test_a_wrong_key_and_a_wrong_secret_are_told_without_showing_them(linked, monkeypatch, variable, value):
    import s3fs

    identity = boto3.client("iam")
    identity.create_user(UserName=variable)
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    identity.put_user_policy(UserName=variable, PolicyName="reads", PolicyDocument=json.dumps(policy))
    key = identity.create_access_key(UserName=variable)["AccessKey"]
    with requiring_keys():
        try:
            s3fs.S3FileSystem.clear_instance_cache()
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            assert find_archives(linked)[0].members()
            s3fs.S3FileSystem.clear_instance_cache()
            monkeypatch.setenv(variable, value)
            told = refusal_of(linked)
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
    assert told == (f"{NAMES[0]}: the store refuses the key; check AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret")
    assert value not in told


@contextmanager
def requiring_keys():
    """Let the server look at keys and signatures, which it else does not."""
    from moto.core.responses import ActionAuthenticatorMixin

    before = ActionAuthenticatorMixin.request_count, settings.INITIAL_NO_AUTH_ACTION_COUNT
    ActionAuthenticatorMixin.request_count, settings.INITIAL_NO_AUTH_ACTION_COUNT = 0, 0
    try:
        yield
    finally:
        ActionAuthenticatorMixin.request_count, settings.INITIAL_NO_AUTH_ACTION_COUNT = before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it names no zip"),
        ("# nothing\n\n", "it names no zip"),
        ("raw/x.zip\n", "line 1 is no address of a zip"),
        ("s3://b/x.zip\ns3://b/y.tar 1\n", "line 2 is no address of a zip"),
        ("s3://b/x.zip\ns3://b/x.zip -\n", "it names a zip twice"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_list_that_is_none_is_refused_by_its_line(tmp_path, text, message):
    path = tmp_path / "raw" / "all.urls"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RefusedError, match=message) as caught:
        find_archives(path.parent)
    assert str(path) in str(caught.value)


def test_names_begin_behind_the_folder_that_all_share(tmp_path):
    path = tmp_path / "all.urls"
    path.write_text("s3://b/raw/one/x.zip 1\n\n# and\ns3://b/raw/two/x.zip\n")
    assert read_list(path) == {
        "one/x.zip": Remote("s3://b/raw/one/x.zip", "1"),
        "two/x.zip": Remote("s3://b/raw/two/x.zip", ""),
    }


def test_what_lies_in_the_folder_and_in_a_list_is_refused(linked):
    shutil.copy(linked.parent / "folder" / NAMES[0], linked)
    with pytest.raises(ValueError, match=f"^{NAMES[0]} is there twice, once in the list all.urls; keep one$"):
        find_archives(linked)


def test_a_prefix_without_zips_and_a_list_of_another_name_are_refused(store, tmp_path):
    store.put_object(Bucket="pictures", Key="notes/x.txt", Body=b"x")
    with pytest.raises(ValueError, match=r"^s3://pictures/notes: found 1 objects, none of them a zip$"):
        link("s3://pictures/notes", tmp_path / "x.urls")
    with pytest.raises(ValueError, match=r"a list of addresses ends in \.urls"):
        link("s3://pictures/raw", tmp_path / "x.txt")
