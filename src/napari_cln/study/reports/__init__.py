"""Original reports: their text, their vocabulary, a verdict.

Knows words alone, and no picture.
"""
