"""The broker that is RabbitMQ, through pika."""
