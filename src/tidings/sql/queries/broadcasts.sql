-- name: create
INSERT INTO broadcasts (project_id, title, body, data, status) VALUES ($1, $2, $3, $4, 'pending')
RETURNING id, title, body, data, status, sockets, sent_at, created_at

-- name: get
SELECT id, project_id, title, body, data, status, sockets, sent_at, created_at FROM broadcasts
WHERE ($1::bigint IS NULL OR project_id = $1) AND id = $2

-- name: sent
UPDATE broadcasts SET status = 'sent', sockets = $2, sent_at = now() WHERE id = $1

-- name: expired
UPDATE broadcasts SET status = 'expired' WHERE id = $1

-- name: forget
-- Those of the $2 oldest that are more than $1 days old, and that no task is about any more.
DELETE FROM broadcasts WHERE id IN (
    SELECT id FROM (SELECT id, created_at, status FROM broadcasts ORDER BY id LIMIT $2) AS oldest
    WHERE created_at < now() - make_interval(days => $1) AND (status <> 'pending'
        OR NOT EXISTS (SELECT FROM tasks t WHERE t.kind = 'broadcast' AND t.subject_ids[1] = oldest.id))
)
