"""A trial is a whole federation in one folder of one machine: broker, coordinator, parties and clients."""
