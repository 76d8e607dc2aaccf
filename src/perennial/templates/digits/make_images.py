"""Write scikit-learn's handwritten digits as the images that the loop reads: images/LABEL/NUMBER.png."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

STEP = 15  # the set has grey levels 0 to 16, a PNG 0 to 255: in whole steps nothing is lost

digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = Path("images") / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * STEP).astype(np.uint8)).save(folder / f"{number:04}.png")
