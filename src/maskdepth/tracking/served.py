"""What MLflow calls when a model of ours is loaded or served: pairs of pictures in, as texts, their maps out.

A model folder holds a script of a few lines that asks for this, and the exported network: nothing is unpickled.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.device import set_threads

if TYPE_CHECKING:
    from mlflow.pyfunc.model import PythonModel

NETWORK = "network"
INPUTS = ("background", "composite")
# What stands in the model's folder as its code.
SCRIPT = '''"""A model of maskdepth, which must be installed: docs/SERVING.md there says what it takes and answers."""

from mlflow.models import set_model

from maskdepth.tracking.served import build_served_model

set_model(build_served_model())
'''


def build_served_model() -> "PythonModel":
    """Make what MLflow gives the exported network to and asks for predictions."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
    from mlflow.pyfunc.model import PythonModel

    from maskdepth.serving.answers import PairPredictor
    from maskdepth.serving.exporting import read_exported

    class Refusal(MlflowException):
        """What is wrong with a request, in one line: MLflow's server puts what it was sent before any other message."""

        def __init__(self, reason: str) -> None:
            super().__init__(reason, error_code=INVALID_PARAMETER_VALUE)
            self._reason = reason

        def serialize_as_json(self) -> str:
            return json.dumps({"error_code": self.error_code, "message": self._reason})

    class ServedModel(PythonModel):
        """The exported network behind pictures."""

        def load_context(self, context: Any) -> None:
            """Read the network, once for all requests."""
            set_threads()
            self._predictor = PairPredictor(read_exported(Path(context.artifacts[NETWORK])))

        # MLflow reads these types: what it does not know it warns of.
        def predict(
            self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
        ) -> list[dict[str, Any]]:
            """Answer the pairs of a request: the columns of `INPUTS` in, what `PairPredictor.answer` gives out."""
            assert params is not None  # the signature has a default for each
            pairs = list(model_input[list(INPUTS)].itertuples(index=False, name=None))
            try:
                return self._predictor.answer(pairs, params["threshold"], registers=params["register"])
            except RefusedError as error:
                raise Refusal(str(error)) from None

    return ServedModel()
