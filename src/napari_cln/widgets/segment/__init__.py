"""The Segment dock: masks and scores of the open images."""
