"""Original reports: their text, their vocabulary, a verdict."""
