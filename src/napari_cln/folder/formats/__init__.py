"""Studies of other programs into a training folder, and a training folder out for others."""
