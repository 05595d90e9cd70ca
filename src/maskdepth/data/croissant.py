"""A data set described in Croissant, MLCommons' vocabulary for data sets: what other programs read of it.

It describes the two tables that say what the data set is: index.csv with a row for each sample, and split.csv with what
each sample is for. The pictures are not in it: a row names their archive, which may be gigabytes, and in whose arrays
they are. http://mlcommons.org/croissant/1.0 has the words.
"""

import json
from pathlib import Path
from typing import Any

from maskdepth.data.samples import IDS, MIXED, TEST, TRAIN, UNUSED, VAL
from maskdepth.process.files import digest_file, replace_text

# As the specification publishes it.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SPLITS = {
    TRAIN: "cr:TrainingSplit",
    VAL: "cr:ValidationSplit",
    TEST: "cr:TestSplit",
    MIXED: "cr:TestSplit",
    UNUSED: "cr:Split",
}
_IDS = ("the object", "the scene", "whether the object is mirrored", "which of several places the object stands at")
# What the columns are, for people.
_INDEX = {
    "sample_id": "name of the sample",
    **dict(zip(IDS, _IDS, strict=True)),
    "archive": "below the folder of raw data: what holds composite, mask and depth",
    "background_digest": "BLAKE2b, 16 bytes, of the background's file",
}
_SPLIT = {
    "sample_id": "name of the sample",
    "split": "what the sample is for",
    "place": "what the background shows; samples of one place are held out together",
}


def write_croissant(path: Path, index: Path, split: Path) -> None:
    """Describe a data set.

    Args:
        path: The JSON-LD file, in the folder of the tables.
        index: index.csv, one row for each sample.
        split: split.csv, likewise.
    """
    names = [{"uses/name": name, "uses/url": url} for name, url in _SPLITS.items()]
    uses = [_describe_field("uses", name, about) for name, about in (("name", "of a split"), ("url", "what it is for"))]
    samples = _describe_table("samples", index, _INDEX)
    splits = _describe_table("splits", split, _SPLIT)
    for column, referred in (("sample_id", "samples/sample_id"), ("split", "uses/name")):
        next(field for field in splits["field"] if field["name"] == column)["references"] = {"field": {"@id": referred}}
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "maskdepth-samples",
        "description": "Scenes without and with an object, its mask, and the scene's depth: which samples there are, "
        "and what each is for.",
        "distribution": [_describe_file(index), _describe_file(split)],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "uses",
                "name": "uses",
                "dataType": "cr:Split",
                "key": {"@id": "uses/name"},
                "field": uses,
                "data": names,
            },
            samples,
            splits,
        ],
    }
    replace_text(path, json.dumps(described, indent=2) + "\n")


def _describe_file(path: Path) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "encodingFormat": "text/csv",
        "sha256": digest_file(path, "sha256"),
    }


def _describe_table(name: str, path: Path, columns: dict[str, str]) -> dict[str, Any]:
    """Describe the columns of a table; all of them are text, as ids may be."""
    fields = [
        _describe_field(name, column, about)
        | {"source": {"fileObject": {"@id": path.name}, "extract": {"column": column}}}
        for column, about in columns.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": {"@id": f"{name}/sample_id"},
        "field": fields,
    }


def _describe_field(table: str, column: str, about: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{column}",
        "name": column,
        "description": about,
        "dataType": "sc:Text",
    }
