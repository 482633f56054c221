"""Private and internal parts of other packages, one module a package, each with its reason and its end.

What stands here may break with any release of those packages; everything else keeps to what they
document. A module is imported where it is used, never from here, so that no room loads a window or torch
without a need.
"""
