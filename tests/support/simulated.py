"""Tables of samples as runs would have measured them, with known differences and the variances that were measured."""

import numpy as np
import pandas as pd

from maskdepth.comparing.results import ENDPOINTS

METRICS = [endpoint.metric for endpoint in ENDPOINTS]
IS_MASK = np.array([endpoint.target == "mask" for endpoint in ENDPOINTS])
TURN = np.array([endpoint.gain(1.0) for endpoint in ENDPOINTS])

# Of a difference of two runs, for each metric: what a seed does to all samples, to those of one place, and to one.
SEED_SD = np.array([0.0032, 0.0062, 0.0073, 0.0064, 0.0064, 0.0064])
PLACE_SD = np.array([0.003, 0.007, 0.02, 0.01, 0.01, 0.01])
SAMPLE_SD = np.full(6, 0.02)


class World:
    """Test samples of some places and objects, on which any number of combinations can be measured."""

    def __init__(self, seeds=5, places=13, per_place=10, objects=40, random_seed=0):
        self.random = np.random.default_rng(random_seed)
        self.seeds, self.places = seeds, places
        self.place = np.repeat(np.arange(places), per_place)
        self.thing = self.random.integers(0, objects, len(self.place))
        self.scores = 0.8 + self.together(len(self.place)) * 0.1

    def together(self, *shape):
        """Draw standard normal numbers for each metric; those of one head go together, as they do in runs."""
        heads = np.where(IS_MASK, self.random.normal(size=(*shape, 1)), self.random.normal(size=(*shape, 1)))
        return (0.8 * heads + 0.6 * self.random.normal(size=(*shape, len(METRICS)))) * TURN

    def measure(self, gains):
        """Give the table of combinations by name, each with the gain that it has in truth, () or one per metric."""
        runs, samples = (len(gains), self.seeds), len(self.place)
        noise = SEED_SD * self.together(*runs, 1) + (PLACE_SD * self.together(*runs, self.places))[:, :, self.place]
        # A difference has two runs in it, and each of them half of its variance.
        noise = (noise + SAMPLE_SD * self.together(*runs, samples)) / 2**0.5
        truth = TURN * np.stack([np.broadcast_to(gain, len(METRICS)) for gain in gains.values()])
        values = self.scores + noise + truth[:, None, None]
        combination, seed, sample = np.indices(values.shape[:3]).reshape(3, -1)
        ids = {"sample_id": sample, "background": self.place[sample], "foreground": self.thing[sample]}
        table = pd.DataFrame(values.reshape(-1, len(METRICS)), columns=METRICS)
        return table.assign(combination=np.array(list(gains))[combination], seed=seed, **ids)
