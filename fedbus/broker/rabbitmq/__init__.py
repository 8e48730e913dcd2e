"""RabbitMQ serves as the broker, reached by the library pika."""
