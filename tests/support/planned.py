"""Archives listed and planned as the unzip stage does, their lists in a hidden folder beside them."""

from pathlib import Path

from maskdepth.data.archives.archive import Archive, find_archives
from maskdepth.data.archives.listings import Listing, write_listings
from maskdepth.data.archives.planning import ShardPlan, plan_shard
from maskdepth.data.layouts.layout import Layout
from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.params import DataParams


def list_all(raw: Path) -> dict[Archive, Listing | RefusedError]:
    """List the archives of a raw folder."""
    folder = raw / ".listings"  # what is hidden there is no archive
    folder.mkdir(exist_ok=True)
    return write_listings(find_archives(raw), folder)


def plan_all(raw: Path, layout: Layout, params: DataParams, code: str = "code") -> list[ShardPlan]:
    """Plan the shards of a raw folder."""
    return [plan_shard(archive, source, layout, params, code) for archive, source in list_all(raw).items()]
