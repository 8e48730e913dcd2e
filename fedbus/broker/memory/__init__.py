"""The broker that is this process, with the semantics of RabbitMQ."""
