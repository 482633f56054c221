"""Files that survive a crash, a full disk and another process; for every room, about no frame or model.

Atomic writing, locks, run-length codes, and the user's own folder with the salt of patient keys."""
