"""Speech recognition: text, vocabulary, decoding and scores that all systems share, and one file a system."""
