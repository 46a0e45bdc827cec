-- name: append
INSERT INTO events (project_id, type, data)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::jsonb[])

-- name: forget
-- Those of the $2 oldest that are more than $1 days old: by the key, so that it reads no more than these.
DELETE FROM events WHERE id IN (
    SELECT id FROM (SELECT id, created_at FROM events ORDER BY id LIMIT $2) AS oldest
    WHERE created_at < now() - make_interval(days => $1)
)
