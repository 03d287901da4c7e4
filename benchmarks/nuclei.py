"""Fluorescence and stained nuclei as an nnU-Net data set, for the example of `umamba compare`.

Data: BBBC038 of the Data Science Bowl 2018 (Caicedo et al. 2019, doi:10.1038/s41592-019-0612-7),
CC0: `images/*.png` (RGBA) and `labels/*.png` (a number per nucleus, 0 is background).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from skimage.io import imread, imsave

_OURS = ("-c", "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))")


def main() -> None:
    """Write images without alpha and masks of zeros and ones, then run `umamba dataset`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="holds images/ and labels/")
    parser.add_argument("raw", type=Path, help="nnUNet_raw")
    parser.add_argument(
        "--largest", type=int, default=360, help="in pixels; larger ones are left out"
    )
    args = parser.parse_args()
    args.raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("images", "labels"):
            (folder / kind).mkdir()
        for path in sorted((args.source / "images").glob("*.png")):
            image = imread(path)[..., :3]
            if max(image.shape) > args.largest:
                continue
            imsave(folder / "images" / path.name, image, check_contrast=False)
            mask = imread(args.source / "labels" / path.name) > 0
            imsave(folder / "labels" / path.name, mask.astype(np.uint8), check_contrast=False)
        command = ["dataset", "Dataset018_Nuclei", "--raw", str(args.raw)]
        command += ["--images", str(folder / "images"), "--masks", str(folder / "labels")]
        command += ["--channels", "red", "green", "blue", "--labels", "background=0", "nucleus=1"]
        sys.exit(subprocess.call([sys.executable, *_OURS, *command]))


if __name__ == "__main__":
    main()
