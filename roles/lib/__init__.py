"""What roles are written with: facts that read much in one round trip, and operations that compare before they act."""
