"""Message brokers: the interface in `base`, RabbitMQ in `amqp`, in-process in `memory`, a private node in `node`."""
