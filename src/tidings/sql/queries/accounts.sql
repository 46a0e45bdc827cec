-- name: next_id
-- The id comes first: it is part of what the credentials are sealed with.
SELECT nextval(pg_get_serial_sequence('provider_accounts', 'id'))

-- name: create
-- Nothing when the project has as many as it may. Two at once may end one above, which does no harm.
INSERT INTO provider_accounts
    (id, project_id, provider, name, priority, enabled, credentials, summary, expires_at, rate_per_s, burst,
    most_at_once, at_most_once)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
WHERE (SELECT count(*) FROM provider_accounts WHERE project_id = $2) < $14
RETURNING id, provider, name, priority, enabled, summary, rate_per_s, burst, most_at_once, at_most_once,
    expires_at, created_at, updated_at

-- name: list
SELECT id, provider, name, priority, enabled, summary, rate_per_s, burst, most_at_once, at_most_once,
    expires_at, created_at, updated_at
FROM provider_accounts WHERE project_id = $1 AND id > $2
ORDER BY id LIMIT $3

-- name: get
SELECT id, provider, name, priority, enabled, summary, rate_per_s, burst, most_at_once, at_most_once,
    expires_at, created_at, updated_at
FROM provider_accounts WHERE project_id = $1 AND id = $2

-- name: change
-- What is null stays, limits stay unless $9, at_most_once unless $13. New credentials bring their own end, about which
-- nobody was warned yet.
UPDATE provider_accounts SET
    name = coalesce($3, name),
    priority = coalesce($4, priority),
    enabled = coalesce($5, enabled),
    credentials = coalesce($6, credentials),
    summary = coalesce($7::jsonb, summary),
    expires_at = CASE WHEN $6::bytea IS NULL THEN expires_at ELSE $8 END,
    warned_at = CASE WHEN $6::bytea IS NULL THEN warned_at END,
    rate_per_s = CASE WHEN $9 THEN $10 ELSE rate_per_s END,
    burst = CASE WHEN $9 THEN $11 ELSE burst END,
    most_at_once = CASE WHEN $9 THEN $12 ELSE most_at_once END,
    at_most_once = CASE WHEN $13 THEN $14 ELSE at_most_once END,
    version = version + 1,
    updated_at = now()
WHERE project_id = $1 AND id = $2
RETURNING id, provider, name, priority, enabled, summary, rate_per_s, burst, most_at_once, at_most_once,
    expires_at, created_at, updated_at

-- name: delete
DELETE FROM provider_accounts WHERE project_id = $1 AND id = $2 RETURNING id

-- name: sealed
SELECT id, project_id, provider, priority, enabled, credentials AS sealed, summary, rate_per_s, burst, most_at_once,
    at_most_once, version
FROM provider_accounts WHERE project_id = $1 AND id = $2

-- name: of_projects
-- With those that are switched off: a project that has only such ones must not fall back on the operator's.
SELECT id, project_id, provider, priority, enabled, credentials AS sealed, summary, rate_per_s, burst, most_at_once,
    at_most_once, version
FROM provider_accounts WHERE project_id = ANY($1::bigint[])
ORDER BY project_id, priority, id

-- name: for_browsers
SELECT summary->>'public_key' AS public_key, coalesce((summary->>'emulated')::boolean, false) AS emulated
FROM provider_accounts WHERE project_id = $1 AND provider = 'webpush'
ORDER BY enabled DESC, priority, id LIMIT 1

-- name: by_id
-- For vendors' reports, which name an account and nothing else.
SELECT id, project_id, provider, priority, enabled, credentials AS sealed, summary, rate_per_s, burst, most_at_once,
    at_most_once, version
FROM provider_accounts WHERE id = $1

-- name: warn
-- Those that have come within one more of these distances of their end since the last warning. Locked by the update,
-- so of several schedulers one warns.
UPDATE provider_accounts a SET warned_at = now()
WHERE enabled AND EXISTS (
    SELECT FROM unnest($1::interval[]) AS within
    WHERE now() >= a.expires_at - within AND (a.warned_at IS NULL OR a.warned_at < a.expires_at - within)
)
RETURNING id, project_id, provider, name, expires_at

-- name: next_ends
SELECT provider, min(expires_at) AS expires_at FROM provider_accounts
WHERE enabled AND expires_at IS NOT NULL GROUP BY provider

-- name: page
SELECT id, project_id, provider, priority, enabled, credentials AS sealed, summary, rate_per_s, burst, most_at_once,
    at_most_once, version
FROM provider_accounts WHERE id > $1 ORDER BY id LIMIT $2

-- name: reseal
-- Only if nobody has changed the account meanwhile. Workers need not load it again: it opens to the same.
UPDATE provider_accounts SET credentials = $3 WHERE id = $1 AND credentials = $2 RETURNING id
