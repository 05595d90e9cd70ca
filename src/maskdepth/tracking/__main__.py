"""`python -m maskdepth.tracking FOLDER`: mirrors one live row; `maskdepth.tracking.live` starts it."""

import sys
from pathlib import Path

from maskdepth.process.secrets import hiding_secrets
from maskdepth.tracking.live import follow

if __name__ == "__main__":
    with hiding_secrets():
        follow(Path(sys.argv[1]))
