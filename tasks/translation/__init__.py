"""Speech translation: speech in one language to text in another, with a model of Whisper's type."""
