"""The scheduler: time. Brings due tasks to the queue, and what was left lying."""
