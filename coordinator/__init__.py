"""This is the coordinator's side of each protocol.
It holds the private key, and never sees a gradient, a weight or a row.
"""
