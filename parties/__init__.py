"""This is the parties' side of each protocol. A guest holds the label, and a host holds features only."""
