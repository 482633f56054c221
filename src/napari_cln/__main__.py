"""``python -m napari_cln`` is ``napari-cln``."""

from napari_cln.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
