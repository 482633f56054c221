"""Model files: their cards, where they are found, and which one is in use. Works without torch."""
