-- name: register
-- The token decides: known for another user it moves, known for this one it is refreshed and enabled again.
INSERT INTO devices AS d (project_id, user_id, device_token, token_digest, device_type)
SELECT u.project_id, u.id, $3, $4, $5 FROM users u WHERE u.project_id = $1 AND u.id = $2
ON CONFLICT (project_id, token_digest) DO UPDATE SET
    user_id = excluded.user_id,
    device_type = excluded.device_type,
    registered_at = now(),
    disabled_at = NULL,
    disabled_reason = NULL
RETURNING id, user_id, device_token, device_type, created_at, registered_at, disabled_at, disabled_reason

-- name: list
SELECT id, user_id, device_token, device_type, created_at, registered_at, disabled_at, disabled_reason
FROM devices WHERE project_id = $1 AND user_id = $2 AND id > $3
ORDER BY id LIMIT $4

-- name: unregister
DELETE FROM devices WHERE project_id = $1 AND user_id = $2 AND id = $3 RETURNING id

-- name: disable
-- Only if the device was not registered again after the attempt began: a new registration is newer truth.
UPDATE devices d SET disabled_at = now(), disabled_reason = v.reason
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS v(device_id, reason, as_of)
WHERE d.id = v.device_id AND d.disabled_at IS NULL AND d.registered_at <= v.as_of
RETURNING d.id, d.project_id, d.user_id, d.disabled_reason
