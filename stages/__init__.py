"""One thin script per DVC stage, run as `python -m stages.<name>`; what each reads and writes is in dvc.yaml.

DVC runs `--temp` and queued experiments in a copy of the repository. An editable install would still import the code
of the main workspace there, so the stages put the `src` beside themselves first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
