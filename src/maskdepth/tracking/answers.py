"""A row of its own for an answer: where people look at runs, they find what all of them say together."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.journal import FINISHED
from maskdepth.tracking.store import connect, explain, trouble

# Marks such a row: it is no training, and nothing that is compared.
ANSWER_TAG = "maskdepth.answer"
_NOTE_TAG = "mlflow.note.content"


def file_answer(key: str, name: str, note: str, files: Mapping[str, str]) -> str:
    """Write an answer into its row, and make that where there is none.

    Args:
        key: Of what the answer is to; a later answer to the same takes the place of the earlier.
        name: Of the row.
        note: What it says, in Markdown.
        files: Text of each artifact by its name.

    Returns:
        What was done, in one line, or why it could not be done: the answer itself has been told already.
    """
    store = locate_store()
    try:
        connection = connect(store)
        client, experiment = connection.client, connection.experiments[EXPERIMENT]
        found = client.search_runs([experiment], f"tags.`{ANSWER_TAG}` = '{key}'", max_results=1)
        run = found[0] if found else client.create_run(experiment, tags={ANSWER_TAG: key}, run_name=name)
        client.set_tag(run.info.run_id, _NOTE_TAG, note)
        with tempfile.TemporaryDirectory() as folder:
            for file, text in files.items():
                path = Path(folder) / file
                path.write_text(text, encoding="utf-8")
                client.log_artifact(run.info.run_id, str(path))
        client.set_terminated(run.info.run_id, FINISHED)
    except trouble() as error:
        return f"the answer has no row: {store.address}: {explain(error)}"
    return f"the answer's row in {store.address}: {name}"
