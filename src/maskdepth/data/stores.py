"""Object stores: how one is opened, and what is said when it cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from maskdepth.data.pictures.refusal import RefusedError

if TYPE_CHECKING:
    import fsspec

# [s] A store that is away is away, and one that answers does within this.
_CONNECT_SECONDS, _READ_SECONDS = 5, 60
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,  # what was listed may have been replaced since
        "config_kwargs": {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "retries": {"max_attempts": 3},
        },
    }
}
# What is raised, by the name of its class, as libraries of a store need not be there; and what a person can do.
_REASONS = {
    "FileNotFoundError": ("there is no such object", "check the address, or take it out of the list"),
    "PermissionError": ("the store refuses the key", "check AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"),
    "NoCredentialsError": ("the store wants a key", "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"),
    "EndpointConnectionError": ("the store does not answer", "check the network, and AWS_ENDPOINT_URL"),
    "ConnectTimeoutError": ("the store does not answer", "check the network, and AWS_ENDPOINT_URL"),
    "FileExpired": (
        "it was replaced while it was read",
        "start again when nobody writes there; list zips again with `maskdepth link`",
    ),
    "ImportError": ("its kind of store needs a library", "pip install 'maskdepth[s3]'"),
}


def open_store(url: str) -> "tuple[fsspec.AbstractFileSystem, str]":
    """Open the store of an address; give it, and the address as it takes it."""
    from fsspec.core import url_to_fs

    return cast("tuple[fsspec.AbstractFileSystem, str]", url_to_fs(url, **_OPTIONS.get(url.split("://", 1)[0], {})))


def etag_of(info: dict[str, Any]) -> str:
    """Give the ETag of an object of which these are the details; "" where the store has none."""
    return str(info.get("ETag") or info.get("etag") or "").strip('"')


@contextmanager
def explaining(where: str = "") -> Iterator[None]:
    """Turn what a store raises into a refusal, which repeats nothing of what the store said."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            if kind.__name__ in _REASONS:
                raise RefusedError(*_REASONS[kind.__name__], where) from error
        if isinstance(error, OSError) or type(error).__module__.startswith(("botocore", "aiohttp")):
            reason = f"the store answers with {type(error).__name__}"
            raise RefusedError(reason, "check the network, and try again", where) from error
        raise
