UPDATE millstream.assignment SET owner = NULL, number = number + 1, assigned_at = clock_timestamp()
WHERE pipeline = $1 AND incarnation = $2 AND owner = $3
