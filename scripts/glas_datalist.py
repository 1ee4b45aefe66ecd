"""Write dataset.json for the GlaS challenge's folder: python scripts/glas_datalist.py WARWICK_QU_FOLDER OUT_DIR."""

import sys

from i2net_bundle.data.glas import write_datalist

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(write_datalist(*sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"glas_datalist: {error}")
