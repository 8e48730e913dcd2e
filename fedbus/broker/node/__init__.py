"""A private RabbitMQ server, for tests, the demo and trials on one machine."""
