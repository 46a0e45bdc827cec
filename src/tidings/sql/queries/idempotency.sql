-- name: begin
-- A second request with the same key waits here until the first has committed, then finds its answer.
INSERT INTO idempotency_keys (project_id, key, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING key

-- name: answer
SELECT digest, status, body, notification_id FROM idempotency_keys WHERE project_id = $1 AND key = $2

-- name: finish
UPDATE idempotency_keys SET status = $3, body = $4 WHERE project_id = $1 AND key = $2

-- name: forget
-- Keys are remembered for a day. At most $1 at once.
DELETE FROM idempotency_keys WHERE (project_id, key) IN (
    SELECT project_id, key FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT $1
)
