"""The coordinator's side of each protocol: it holds the private key and never sees a gradient, a weight or a row."""
