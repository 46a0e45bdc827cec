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
