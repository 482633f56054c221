"""Files to frames, by content and not by file ending."""
