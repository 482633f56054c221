"""What is wrong with a training folder, by name, and what can be mended without guessing."""
