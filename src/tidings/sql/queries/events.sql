-- name: append
INSERT INTO events (project_id, type, data)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::jsonb[])
