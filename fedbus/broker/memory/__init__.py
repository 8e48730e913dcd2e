"""This broker lives in the process that uses it, and behaves as RabbitMQ does."""
