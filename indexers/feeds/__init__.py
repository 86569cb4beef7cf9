"""One module or folder a kind of feed; importing this package registers them all."""
