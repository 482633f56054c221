"""The Correct dock: masks of a training folder, corrected, decided on and saved."""
