-- name: keys_by_digests
-- The keys that callers presented, whatever their state. By the index of `digest`, also in a plan that stays (db.BY_KEYS).
SELECT digest, id, project_id, scopes, expires_at, revoked_at FROM api_keys WHERE digest = ANY($1::bytea[])

-- name: create_key
INSERT INTO api_keys (project_id, name, hint, digest, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id, project_id, name, hint, scopes, created_at, expires_at, revoked_at

-- name: ensure_key
-- Twice is safe: the digest is unique.
INSERT INTO api_keys (project_id, name, hint, digest, scopes) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (digest) DO NOTHING

-- name: list_keys
SELECT k.id, k.project_id, p.name AS project, k.name, k.hint, k.scopes, k.created_at, k.expires_at, k.revoked_at
FROM api_keys k JOIN projects p ON p.id = k.project_id
ORDER BY k.id

-- name: revoke_key
-- Twice is safe: the first time stands.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id

-- name: project_by_name
SELECT id FROM projects WHERE name = $1

-- name: create_project
INSERT INTO projects (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
