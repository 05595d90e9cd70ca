"""An object store on this machine, which runs in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECRET = "a-secret-that-is-told-nobody"


@contextmanager
def served() -> Iterator[str]:
    """Start one, and give its address; skip the tests where its packages are not installed."""
    pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    try:
        yield "http://{}:{}".format(*running.get_host_and_port())
    finally:
        running.stop()


@contextmanager
def bucket(address: str, name: str, patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a bucket, gone at the end, and let whoever asks for a store ask this one; give a client."""
    import boto3
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for variable, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        patch.setenv(variable, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=found["Key"])
    client.delete_bucket(Bucket=name)
