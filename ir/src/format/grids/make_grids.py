"""Writes the grids of the IQ formats, which are part of those formats' definitions, from the tables of
the `gguf` Python package (MIT; they come from ggml).

Made with gguf 0.19.0; `python3 make_grids.py` writes the same bytes again. NAME.bin holds, for one
point of the grid after another, the number of each coordinate's value among the format's values: four
bits a coordinate for the three-bit formats, two for the others, lowest bits first.
"""

from pathlib import Path

import gguf.quants
import numpy as np

for name in ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"]:
    kind = getattr(gguf.quants, name)
    kind.init_grid()
    points = kind.grid.reshape(kind.grid_shape)
    numbers = np.searchsorted(np.array(kind.grid_map, dtype=np.float32), points)
    bits = 4 if len(kind.grid_map) == 8 else 2
    packed = numbers.reshape(-1, 8 // bits).astype(np.uint8) << np.arange(0, 8, bits, dtype=np.uint8)
    Path(__file__).with_name(f"{name.lower()}.bin").write_bytes(packed.sum(axis=1, dtype=np.uint8).tobytes())
