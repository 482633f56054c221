"""What an original report said: its text, its vocabulary, a verdict."""
