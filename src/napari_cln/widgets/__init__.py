"""The docks; the only package that imports napari, magicgui and Qt."""
