"""Message brokers: `base` has the interface, `rabbitmq` and `memory` implement it, and `node` runs a private server."""
