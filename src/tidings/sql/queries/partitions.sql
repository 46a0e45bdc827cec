-- name: lock
-- One process at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock(7146002)

-- name: missing
-- Whether one of these days has no partitions yet.
SELECT count(*) <= $2::integer FROM days WHERE day BETWEEN $1::date AND $1::date + $2::integer

-- name: add_days
-- Today and the days ahead.
SELECT add_day(day::date) FROM generate_series($1::date, $1::date + $2::integer, interval '1 day') AS day

-- name: advance
-- From today on, ids come from today's range. Only ever forward; call it under the lock. Not at once into a day that was
-- made just now: a statement that began before knows no partition for its ids. None runs for a minute (see db.py).
SELECT setval('notifications_id_seq', d.first_id, false) FROM days d
WHERE d.day = $1::date AND d.first_id > (SELECT last_value FROM notifications_id_seq)
    AND d.made_at < now() - interval '1 minute'

-- name: room
-- Whether the next id has a partition.
SELECT EXISTS (SELECT FROM days d, notifications_id_seq s WHERE s.last_value >= d.first_id AND s.last_value < d.end_id - 1)

-- name: old
-- Days before $1, oldest first; not the one from which ids still come.
SELECT day, first_id, end_id FROM days
WHERE day < $1::date AND end_id <= (SELECT last_value FROM notifications_id_seq) ORDER BY day

-- name: unfinished
-- Whether a day has notifications that have not come to an end, such as one scheduled for next month.
SELECT EXISTS (SELECT FROM notifications WHERE id >= $1 AND id < $2 AND status IN ('scheduled', 'pending', 'sending'))

-- name: forget
DELETE FROM days WHERE day = $1::date
