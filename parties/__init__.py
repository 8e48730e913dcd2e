"""The parties' side of each protocol: guest (holds the label) and host (holds features only)."""
