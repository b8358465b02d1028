SELECT source, created_ms FROM millstream.task_floor
