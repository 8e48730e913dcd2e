"""What vertical algorithms share: a guest with the label, hosts with other columns of the same rows."""
