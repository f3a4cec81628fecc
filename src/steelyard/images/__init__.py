"""Images: a catalogue of what may be written to a server's disk, each checked before it is stored."""
