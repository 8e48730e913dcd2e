"""A private RabbitMQ server serves tests, the demo, and trials on one machine."""
