"""Studies of other programs into a training folder, and a training folder out for others.

A format makes :class:`~napari_cln.folder.formats.imported.ImportedFrame` or takes an exported one, and knows
no other; ``exchange`` recognises formats, and alone writes into a folder. A new one is a module here and a
line there.
"""
