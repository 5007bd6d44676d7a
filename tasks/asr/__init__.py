"""Speech recognition: text rules, vocabularies, decoding and scoring, and the systems that share them."""
