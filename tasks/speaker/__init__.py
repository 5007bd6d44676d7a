"""Speaker verification: trial lists and scoring that all systems share, and one file a system."""
