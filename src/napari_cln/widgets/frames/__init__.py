"""The Frames dock: what is in files and folders, and what the network is shown of them."""
