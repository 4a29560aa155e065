"""What Counterpoint's speed is held to: every claim a row, measured against a peer or a floor."""
