UPDATE millstream.slot SET renewed_at = clock_timestamp() WHERE slot = $1 AND token = $2::uuid
