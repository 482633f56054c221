"""Use cases, one verb a module: plain functions that the command line, the docks, a cluster and Python call.

They know no window and no command line; what they need of a user comes as an argument, what they have to
say as a value, an iteration or a ClnError. A use case that needs one room alone is that room's function, such
as :func:`napari_cln.import_study`.
"""
